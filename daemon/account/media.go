package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"secmsg/daemon/call"
	"secmsg/daemon/codes"
	"secmsg/daemon/link"
	"secmsg/daemon/media"
	"secmsg/rpc/local"
	"secmsg/rpc/local/place"
)

// turnTimeout bounds the request for TURN credentials. Without them a call may
// still connect directly.
const turnTimeout = 3 * time.Second

// callMedia implements call.Media with package media.
type callMedia struct {
	link   *link.Link
	server string // host:port
	logger *slog.Logger
}

// Open implements call.Media.
func (c callMedia) Open(ctx context.Context, caller bool, m local.CallMedia, s call.Streams) (call.Session, error) {
	for _, spec := range []string{m.AudioIn, m.VideoIn, m.AudioOut, m.VideoOut} {
		switch spec {
		case "", media.SpecDevice, media.SpecTest, media.SpecNull, media.SpecStream:
			continue
		}
		if !filepath.IsAbs(spec) {
			return nil, local.Errorf(local.CodeUsage, "the media path %q is not absolute", spec)
		}
	}
	o := media.Options{Logger: c.logger, RelayOnly: m.RelayOnly, Loopback: isLoopback(c.server)}
	asked := time.Now()
	var err error
	if o.ICEServers, err = c.servers(ctx); err != nil {
		if m.RelayOnly {
			return nil, local.Errorf(local.CodeUnreachable, "the server cannot relay calls at the moment: %v", local.As(codes.Local(err)))
		}
		c.logger.Info("calling without a media server", "error", err)
	}
	if err := distinct(m); err != nil {
		return nil, err
	}
	sources, err := openSources(m, s)
	if err != nil {
		return nil, mediaError(err)
	}
	sinks, err := openSinks(m, s)
	if err == nil && caller && m.HangupAfterPlay {
		err = ready(ctx, sources)
	}
	if err != nil {
		err = errors.Join(err, closeSources(sources), closeSinks(sinks))
		return nil, mediaError(err)
	}
	role := media.Callee
	if caller {
		role = media.Caller
	}
	x, err := media.NewSession(o, role, sources, sinks)
	if err != nil {
		return nil, mediaError(err)
	}
	out := newCallSession(x, m, sources, sinks)
	out.servers, out.asked = c.servers, asked
	return out, nil
}

// distinct refuses a file or FIFO that is both a source and a destination.
func distinct(m local.CallMedia) error {
	for _, in := range []string{m.AudioIn, m.VideoIn} {
		for _, out := range []string{m.AudioOut, m.VideoOut} {
			a, errIn := os.Stat(in)
			b, errOut := os.Stat(out)
			if filepath.IsAbs(in) && filepath.IsAbs(out) && errIn == nil && errOut == nil && os.SameFile(a, b) {
				return local.Errorf(local.CodeUsage, "%s cannot be both a source and a destination of a call", in)
			}
		}
	}
	return nil
}

// ready waits until every streamed source has data, so that the peer's device does
// not ring for nothing.
func ready(ctx context.Context, in media.Sources) error {
	for kind, source := range map[media.Kind]media.Source{media.Audio: in.Audio, media.Video: in.Video} {
		if r, ok := source.(media.Readier); ok {
			if err := r.Ready(ctx); err != nil {
				return fmt.Errorf("%s source: %w", kind, err)
			}
		}
	}
	return nil
}

func closeSources(in media.Sources) error {
	var errs []error
	for _, x := range []media.Source{in.Audio, in.Video} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	return errors.Join(errs...)
}

func closeSinks(out media.Sinks) error {
	var errs []error
	for _, x := range []media.Sink{out.Audio, out.Video, out.Muxed} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	return errors.Join(errs...)
}

// freshFor is how long TURN credentials are reused for a restart: half of their
// maximum lifetime.
const freshFor = 5 * time.Minute

// servers requests the TURN servers and credentials for them.
func (c callMedia) servers(ctx context.Context) ([]media.ICEServer, error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	t, err := c.link.TurnCredentials(ctx)
	if err != nil {
		return nil, err
	}
	return []media.ICEServer{{URLs: t.URLs, Username: t.Username, Password: t.Password}}, nil
}

// isLoopback reports whether a server is on this machine. Then its TURN server and
// the peer are on this machine, too.
func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// anyMedia reports whether any source or destination is named. Without one, a call
// uses microphone and speaker.
func anyMedia(m local.CallMedia) bool {
	return m.AudioIn != "" || m.VideoIn != "" || m.AudioOut != "" || m.VideoOut != ""
}

func openSources(m local.CallMedia, s call.Streams) (out media.Sources, err error) {
	if !anyMedia(m) {
		m.AudioIn = media.SpecDevice
	}
	width, height, err := pictureSize(m.VideoSize)
	if err != nil {
		return out, err
	}
	open := func(kind media.Kind, spec, name, format string) (media.Source, error) {
		if spec == "" {
			return nil, nil
		}
		o := media.SourceOptions{Format: media.Format(format), Width: width, Height: height}
		if spec == media.SpecStream && s != nil {
			if o.Stream, err = s.Input(name); err != nil {
				return nil, err
			}
		}
		return media.OpenSource(kind, spec, o)
	}
	if out.Audio, err = open(media.Audio, m.AudioIn, local.StreamAudioIn, m.AudioFormat); err != nil {
		return media.Sources{}, err
	}
	if out.Video, err = open(media.Video, m.VideoIn, local.StreamVideoIn, m.VideoFormat); err != nil {
		return media.Sources{}, errors.Join(err, closeSources(out))
	}
	return out, nil
}

func openSinks(m local.CallMedia, s call.Streams) (out media.Sinks, err error) {
	if !anyMedia(m) && !m.Play {
		m.AudioOut = media.SpecDevice
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeSinks(out))
			out = media.Sinks{}
		}
	}()
	open := func(kind media.Kind, spec, name, format string) (media.Sink, error) {
		if spec == "" {
			return nil, nil
		}
		o := media.SinkOptions{Format: media.Format(format), Place: place.Numbered}
		if spec == media.SpecStream && s != nil {
			if o.Stream, err = s.Output(name); err != nil {
				return nil, err
			}
		}
		return media.OpenSink(kind, spec, o)
	}
	if holdsBoth(m.VideoOut) && (m.AudioOut == "" || m.AudioOut == m.VideoOut) {
		if out.Muxed, err = open(media.Video, m.VideoOut, local.StreamVideoOut, ""); err != nil {
			return out, err
		}
		m.AudioOut, m.VideoOut = "", ""
	}
	if m.Play {
		if out.Muxed != nil {
			return out, local.Errorf(local.CodeUsage, "a call cannot be both played and recorded to a .webm or .mkv file")
		}
		if out.Muxed, err = media.OpenPlayer(); err != nil {
			return out, err
		}
	}
	if out.Audio, err = open(media.Audio, m.AudioOut, local.StreamAudioOut, m.AudioFormat); err != nil {
		return out, err
	}
	out.Video, err = open(media.Video, m.VideoOut, local.StreamVideoOut, m.VideoFormat)
	return out, err
}

// pictureSize parses WIDTHxHEIGHT. An empty size is 0, 0, the default.
func pictureSize(size string) (width, height int, err error) {
	if size == "" {
		return 0, 0, nil
	}
	w, h, ok := strings.Cut(size, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	if !ok || errW != nil || errH != nil {
		return 0, 0, local.Errorf(local.CodeUsage, "the video size %q is not WIDTHxHEIGHT (example: 1280x720)", size)
	}
	return width, height, nil
}

// holdsBoth reports whether a file format contains both audio and video.
func holdsBoth(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".mkv" || ext == ".webm"
}

// mediaError gives an error of a source or destination its code.
func mediaError(err error) error {
	if _, ok := errors.AsType[*local.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, media.ErrUnsupported), errors.Is(err, media.ErrFormat):
		return fmt.Errorf("%w (%w)", local.Errorf(local.CodeUsage, "%v", err), err)
	case errors.Is(err, media.ErrRefused):
		return fmt.Errorf("%w (%w)", local.Errorf(local.CodeRefused, "%v", err), err)
	}
	return fmt.Errorf("%w (%w)", local.IOError(err, "%v", err), err)
}
