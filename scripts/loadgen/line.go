package loadgen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
)

// relayLine is a pair of devices: one sends, the other receives.
type relayLine struct {
	to      *Device
	contact *websocket.Conn // of the sender
	replica *websocket.Conn // of the receiver; nil if it is offline
	size    int

	// of the sending goroutine
	seq  uint64
	id   [16]byte
	envs []*wire.Outgoing

	// of the receiving goroutine
	deliver wire.ReplicaServer
}

// NewLine connects the sender's side, and with online the receiver's side, too. Payloads have size
// bytes.
func NewLine(ctx context.Context, from, to *Device, size int, online bool) (Line, error) {
	contact, _, err := from.OpenContact(ctx)
	if err != nil {
		return nil, err
	}
	l := &relayLine{to: to, contact: contact, size: size}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, errors.Join(err, contact.Close())
	}
	l.id = id
	if !online {
		return l, nil
	}
	receiver, value, err := to.OpenContact(ctx)
	if err != nil {
		return nil, errors.Join(err, contact.Close())
	}
	// The receiver sends nothing; its contact connection only serves to get the fence.
	if err := receiver.Close(); err != nil {
		return nil, errors.Join(err, contact.Close())
	}
	if l.replica, err = to.OpenReplica(ctx, value); err != nil {
		return nil, errors.Join(err, contact.Close())
	}
	return l, nil
}

// Send sends n envelopes in one frame.
func (l *relayLine) Send(stamp []byte, n int) error {
	for len(l.envs) < n {
		l.envs = append(l.envs, &wire.Outgoing{
			Class: wire.Class_CLASS_DURABLE, Recipient: l.to.Name, Device: l.to.ID[:], ManifestVersion: 1,
			MessageId: make([]byte, 16), Ciphertext: make([]byte, l.size),
		})
	}
	for _, e := range l.envs[:n] {
		l.seq++
		e.Seq = l.seq
		copy(e.MessageId, l.id[:8])
		binary.BigEndian.PutUint64(e.MessageId[8:], l.seq|1<<63) // the variant bits of RFC 9562
		copy(e.Ciphertext, stamp)
	}
	return write(l.contact, &wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Envelopes: l.envs[:n]}}})
}

// Acked counts accepted envelopes; a rejection ends the load.
func (l *relayLine) Acked() (int, error) {
	var f wire.ContactServer
	if err := read(l.contact, &f); err != nil {
		return 0, err
	}
	if f.GetBye() != nil {
		return 0, fmt.Errorf("the server says goodbye: %v", f.GetBye())
	}
	if r := f.GetResult().GetRejected(); len(r) > 0 {
		return 0, fmt.Errorf("rejected: %v", r[0])
	}
	return len(f.GetResult().GetAccepted()), nil
}

// Receive acknowledges one delivery.
func (l *relayLine) Receive(got func([]byte)) error {
	if l.replica == nil {
		return io.EOF
	}
	if err := read(l.replica, &l.deliver); err != nil {
		return err
	}
	d := l.deliver.GetDeliver()
	if d == nil {
		return nil
	}
	for _, e := range d.GetEnvelopes() {
		got(e.GetCiphertext())
	}
	through := d.GetFirst() + uint64(len(d.GetEnvelopes())) - 1
	return write(l.replica, &wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{Ack: &wire.Ack{Through: through}}})
}

// Close drops both connections.
func (l *relayLine) Close() error {
	err := l.contact.Close()
	if l.replica != nil {
		err = errors.Join(err, l.replica.Close())
	}
	return err
}

// Drain makes a device fetch its mailbox. It returns how many envelopes came until there were want of
// them, and how long that took.
func Drain(ctx context.Context, d *Device, want int) (int, time.Duration, error) {
	contact, value, err := d.OpenContact(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer contact.Close()
	start := time.Now()
	l := &relayLine{to: d, contact: contact}
	if l.replica, err = d.OpenReplica(ctx, value); err != nil {
		return 0, 0, err
	}
	defer l.replica.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := l.replica.SetReadDeadline(deadline); err != nil {
			return 0, 0, fmt.Errorf("drain: %w", err)
		}
	}
	n := 0
	for n < want {
		if err := l.Receive(func([]byte) { n++ }); err != nil {
			return n, time.Since(start), fmt.Errorf("drain of %s after %d: %w", d.Name, n, err)
		}
	}
	return n, time.Since(start), nil
}
