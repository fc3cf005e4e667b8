//go:build !cgo || !linux

package media

import (
	"fmt"

	"secmsg/daemon/media/codec"
)

func noDevice() error { return fmt.Errorf("%w: %w", ErrUnsupported, codec.ErrNoEncoder) }

func openMicrophone() (Source, error) { return nil, noDevice() }

func openSpeaker() (Sink, error) { return nil, noDevice() }

func openCamera(SourceOptions) (Source, error) { return nil, noDevice() }
