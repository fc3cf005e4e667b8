//go:build cgo && linux

package media

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/blackjack/webcam"
	"github.com/pion/mediadevices/pkg/frame"
)

const (
	// Pixel formats of video4linux, four characters each.
	pixelYUYV  = webcam.PixelFormat('Y' | 'U'<<8 | 'Y'<<16 | 'V'<<24)
	pixelMJPEG = webcam.PixelFormat('M' | 'J'<<8 | 'P'<<16 | 'G'<<24)
	// cameraBuffers is the number of pictures that the driver may buffer.
	cameraBuffers = 2
	// cameraWait is the time, in seconds, between checks of the context while the camera
	// delivers nothing. After cameraPatience such waits in a row the camera has failed.
	cameraWait     = 1
	cameraPatience = 5
)

// camera is the first camera that works. It uses the library below mediadevices directly,
// since the driver package above it opens every camera when a program starts, even for a
// command that makes no call.
type camera struct {
	pictureEncoder
	cam    *webcam.Webcam
	decode frame.Decoder
	width  int
	height int
	begun  time.Time
	ended  atomic.Bool
	free   chan struct{} // holds one token while cam is not in use
}

func openCamera(o SourceOptions) (Source, error) {
	paths, err := filepath.Glob("/dev/video*")
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	errs := []error{fmt.Errorf("no working camera: %w", ErrUnsupported)}
	for _, p := range paths {
		c, err := openCameraAt(p, o)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p, err))
	}
	return nil, errors.Join(errs...)
}

func openCameraAt(path string, o SourceOptions) (*camera, error) {
	cam, err := webcam.Open(path)
	if err != nil {
		return nil, err
	}
	c := &camera{cam: cam, free: make(chan struct{}, 1)}
	c.free <- struct{}{}
	if err := c.start(o); err != nil {
		return nil, errors.Join(err, cam.Close())
	}
	return c, nil
}

func (c *camera) start(o SourceOptions) error {
	pixel, name := pixelYUYV, frame.Format(frame.FormatYUYV)
	if _, ok := c.cam.GetSupportedFormats()[pixelMJPEG]; ok && o.Width > defaultWidth {
		pixel, name = pixelMJPEG, frame.FormatMJPEG // raw pictures of that size exceed the bandwidth of USB
	}
	got, w, h, err := c.cam.SetImageFormat(pixel, uint32(o.Width), uint32(o.Height))
	if err != nil {
		return err
	}
	if got != pixel || w == 0 || h == 0 || w > maxWidth || h > maxHeight {
		return fmt.Errorf("unsupported picture format: %w", ErrUnsupported)
	}
	if c.decode, err = frame.NewDecoder(name); err != nil {
		return err
	}
	_ = c.cam.SetFramerate(float32(o.FrameRate)) // best effort: many drivers have a fixed rate
	if err := c.cam.SetBufferCount(cameraBuffers); err != nil {
		return err
	}
	c.width, c.height = int(w), int(h)
	o.Width, o.Height = c.width, c.height
	if err := c.begin(o); err != nil {
		return err
	}
	return c.cam.StartStreaming()
}

// Next implements [Source].
func (c *camera) Next(ctx context.Context) (Frame, error) {
	select {
	case <-c.free:
		defer func() { c.free <- struct{}{} }()
	case <-ctx.Done():
		return Frame{}, ctx.Err()
	}
	if c.begun.IsZero() {
		c.begun = time.Now()
	}
	silent := 0
	for !c.ended.Load() {
		var timeout *webcam.Timeout
		err := c.cam.WaitForFrame(cameraWait)
		switch {
		case ctx.Err() != nil:
			return Frame{}, ctx.Err()
		case errors.As(err, &timeout) && silent < cameraPatience:
			silent++
			continue
		case err != nil:
			return Frame{}, fmt.Errorf("wait for the camera: %w", err)
		}
		raw, err := c.cam.ReadFrame()
		if err != nil {
			return Frame{}, fmt.Errorf("read the camera: %w", err)
		}
		data, err := c.picture(raw)
		if err != nil {
			return Frame{}, err
		}
		if len(data) == 0 {
			continue
		}
		return Frame{Data: data, PTS: time.Since(c.begun), Key: isKey(H264, data)}, nil
	}
	return Frame{}, io.EOF
}

// picture encodes one picture. It returns nothing for a damaged one.
func (c *camera) picture(raw []byte) ([]byte, error) {
	img, release, err := c.decode.Decode(raw, c.width, c.height)
	if err != nil {
		return nil, nil
	}
	defer release()
	ycbcr, ok := img.(*image.YCbCr)
	if !ok || ycbcr.Rect.Dx() != c.width || ycbcr.Rect.Dy() != c.height {
		return nil, nil
	}
	return c.encode(ycbcr)
}

// Close implements [Source].
func (c *camera) Close() error {
	if c.ended.Swap(true) {
		return nil
	}
	<-c.free
	return errors.Join(c.cam.Close(), c.pictureEncoder.Close())
}
