// Package bus tells which node of a server holds a device's session, and wakes
// that node when the device's mailbox has grown. It is a hint: losing the bus
// costs latency, never mail. The interface stands in this file, one backend in
// each other file, and one suite runs on all of them. All methods are safe for
// concurrent use.
package bus

import (
	"context"
	"errors"

	"secmsg/crypto/key"
)

// ErrNode is a second listener for a node's name.
var ErrNode = errors.New("another listener has that node name")

// Bus connects the nodes of one server.
type Bus interface {
	// Hold records that node holds the device's session, until release is
	// called. A later Hold replaces an earlier one; then the earlier release does nothing.
	Hold(ctx context.Context, device key.DeviceID, node string) (release func(), err error)
	// Holder returns the node that holds the device's session, "" if none does.
	Holder(ctx context.Context, device key.DeviceID) (string, error)
	// Wake tells the holder, if there is one, that the device's mailbox has
	// grown. It does not wait for the holder.
	Wake(ctx context.Context, device key.DeviceID) error
	// Listen calls wake for every device that node is woken for, until stop is
	// called; wake must not block. It fails with ErrNode if node listens already.
	Listen(ctx context.Context, node string, wake func(key.DeviceID)) (stop func(), err error)
}
