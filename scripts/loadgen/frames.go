package loadgen

import (
	"context"
	"errors"
	"fmt"

	"github.com/gorilla/websocket"
)

// frameLine is a line through a bare forwarder: one message is one frame, and its acknowledgement is a
// frame of eight bytes in the other direction.
type frameLine struct {
	from, to *websocket.Conn
	payload  []byte
}

// NewFrameLine connects both sides of pair n to the forwarder at addr, at the paths /a/n and /b/n.
func NewFrameLine(ctx context.Context, addr string, n, size int) (Line, error) {
	to, err := DialWebSocket(ctx, fmt.Sprintf("wss://%s/b/%d", addr, n), "")
	if err != nil {
		return nil, err
	}
	from, err := DialWebSocket(ctx, fmt.Sprintf("wss://%s/a/%d", addr, n), "")
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return &frameLine{from: from, to: to, payload: make([]byte, size)}, nil
}

// Send sends n frames.
func (l *frameLine) Send(stamp []byte, n int) error {
	copy(l.payload, stamp)
	for range n {
		if err := l.from.WriteMessage(websocket.BinaryMessage, l.payload); err != nil {
			return err
		}
	}
	return nil
}

// Acked reads one acknowledgement.
func (l *frameLine) Acked() (int, error) {
	if _, _, err := l.from.ReadMessage(); err != nil {
		return 0, err
	}
	return 1, nil
}

// Receive reads one frame and acknowledges it.
func (l *frameLine) Receive(got func([]byte)) error {
	_, b, err := l.to.ReadMessage()
	if err != nil {
		return err
	}
	got(b)
	return l.to.WriteMessage(websocket.BinaryMessage, b[:8])
}

// Close closes both connections.
func (l *frameLine) Close() error { return errors.Join(l.from.Close(), l.to.Close()) }
