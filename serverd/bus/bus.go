// Package bus records which node of a server holds a device's session, and wakes that node when the
// device's mailbox has grown. Its messages are hints: losing one costs latency, never mail. This file
// holds the interface, every other file one backend; one test suite runs on all backends. All methods
// are safe for concurrent use.
package bus

import (
	"context"
	"errors"

	"secmsg/crypto/key"
)

// ErrNode means that another listener has the node's name.
var ErrNode = errors.New("another listener has that node name")

// Bus connects the nodes of one server.
type Bus interface {
	// Hold records that node holds the device's session, until release is called. A later Hold replaces
	// an earlier one, whose release then does nothing.
	Hold(ctx context.Context, device key.DeviceID, node string) (release func(), err error)
	// Holder returns the node that holds the device's session, or "" if none does.
	Holder(ctx context.Context, device key.DeviceID) (string, error)
	// Wake tells the holder, if there is one, that the device's mailbox has grown. It does not wait for
	// the holder.
	Wake(ctx context.Context, device key.DeviceID) error
	// Listen calls wake for every device whose mailbox has grown and that node holds, until stop is
	// called. wake must not block. Listen returns ErrNode if the name already has a listener.
	Listen(ctx context.Context, node string, wake func(key.DeviceID)) (stop func(), err error)
}
