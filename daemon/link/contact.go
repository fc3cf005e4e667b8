package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

const (
	pathContact = "/v1/contact"
	// maxFence bounds a fence value in bytes; the server's values have 16 or 32.
	maxFence = 64
	// frameRoom is the size of a Send frame without its items, in bytes.
	frameRoom = 64
	// itemRoom is the overhead of an item over proto.Size before its seq is set: tag,
	// length and seq.
	itemRoom = 24
)

// contact is an open contact connection with a confirmed fence.
type contact struct {
	*conn

	send sync.Mutex // held while seqs are assigned and frames enqueued, so that both have the same order

	mu      sync.Mutex
	next    uint64             // next seq; guarded by mu
	pending map[uint64]outcome // sent and unanswered, by seq; guarded by mu
}

// outcome identifies an envelope that waits for its answer.
type outcome struct {
	MessageID [16]byte
	Recipient string
	Device    key.DeviceID
	Class     wire.Class
}

// openContact opens the connection and passes the fence (rpc/PROTOCOL.md, 3.1). It returns
// the confirmed fence value, which the replica connection presents.
func (l *Link) openContact(ctx context.Context) (c *contact, value []byte, serverTime time.Time, err error) {
	base, err := l.open(ctx, pathContact, wire.RoleContact)
	if err != nil {
		return nil, nil, time.Time{}, err
	}
	c = &contact{conn: base, next: 1, pending: map[uint64]outcome{}}
	stop := context.AfterFunc(ctx, func() { base.fail(context.Cause(ctx)) })
	defer stop()
	value, serverTime, err = l.passFence(ctx, c)
	if err != nil {
		c.close()
		return nil, nil, time.Time{}, fmt.Errorf("fence: %w", err)
	}
	return c, value, serverTime, nil
}

func (l *Link) passFence(ctx context.Context, c *contact) ([]byte, time.Time, error) {
	stored, steps, err := l.handler.Fence(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := c.enqueueFrame(ctx, &wire.ContactClient{Frame: &wire.ContactClient_Fence{
		Fence: &wire.Fence{Value: stored, Steps: steps, Protocol: wire.ProtocolVersion}}}); err != nil {
		return nil, time.Time{}, err
	}
	f, err := readFrame(c.conn, l.timing.Open, new(wire.ContactServer))
	if err != nil {
		return nil, time.Time{}, err
	}
	issued := f.GetIssued()
	if n := len(issued.GetValue()); n == 0 || n > maxFence {
		return nil, time.Time{}, fmt.Errorf("%w: no fence value", ErrProtocol)
	}
	serverTime := time.UnixMilli(issued.GetTimeMs())
	if err := l.handler.StoreFence(ctx, issued.GetValue()); err != nil {
		return nil, time.Time{}, fmt.Errorf("store: %w", err)
	}
	if err := c.enqueueFrame(ctx, &wire.ContactClient{Frame: &wire.ContactClient_Confirm{
		Confirm: &wire.FenceConfirm{Value: issued.GetValue()}}}); err != nil {
		return nil, time.Time{}, err
	}
	f, err = readFrame(c.conn, l.timing.Open, new(wire.ContactServer))
	if err != nil {
		return nil, time.Time{}, err
	}
	if f.GetConfirmed() == nil {
		return nil, time.Time{}, fmt.Errorf("%w: fence not confirmed", ErrProtocol)
	}
	return issued.GetValue(), serverTime, nil
}

// serve reads frames until the connection ends, and returns why.
func (c *contact) serve(ctx context.Context, h Handler) error {
	for {
		f, err := readFrame(c.conn, 0, new(wire.ContactServer))
		if err != nil {
			return err
		}
		switch {
		case f.GetResult() != nil:
			results, err := c.match(f.GetResult())
			if err != nil {
				return err
			}
			if len(results) > 0 {
				h.Results(ctx, results)
			}
		case f.GetStale() != nil:
			h.Stale(ctx, f.GetStale().GetAccount(), f.GetStale().GetManifests())
		case f.GetPresence() != nil:
			h.Presence(ctx, f.GetPresence().GetStates())
		case f.GetIssued() != nil, f.GetConfirmed() != nil:
			return fmt.Errorf("%w: fence frame after the fence was passed", ErrProtocol)
		default:
			// A frame of a later version is ignored, like an unknown field.
		}
	}
}

// match converts a result frame into results. A second answer to a seq is a protocol error
// that ends the connection.
func (c *contact) match(r *wire.SendResult) ([]Result, error) {
	out := make([]Result, 0, len(r.GetAccepted())+len(r.GetRejected()))
	c.mu.Lock()
	defer c.mu.Unlock()
	take := func(seq uint64) (Result, error) {
		p, ok := c.pending[seq]
		if !ok {
			return Result{}, fmt.Errorf("%w: answer to seq %d, which is not pending", ErrProtocol, seq)
		}
		delete(c.pending, seq)
		return Result{MessageID: p.MessageID, Recipient: p.Recipient, Device: p.Device, Class: p.Class}, nil
	}
	for _, seq := range r.GetAccepted() {
		res, err := take(seq)
		if err != nil {
			return nil, err
		}
		res.Accepted = true
		out = append(out, res)
	}
	for _, rej := range r.GetRejected() {
		res, err := take(rej.GetSeq())
		if err != nil {
			return nil, err
		}
		res.Reason, res.Final = rej.GetReason(), rej.GetFinal()
		res.RetryAfter = wire.Wait(rej.GetRetryAfterMs())
		out = append(out, res)
	}
	return out, nil
}

// sendEnvelopes assigns seqs, splits envelopes into frames and queues those for the writer.
func (c *contact) sendEnvelopes(ctx context.Context, envelopes []*wire.Outgoing, steps uint64) error {
	outcomes := make([]outcome, len(envelopes))
	for i, e := range envelopes {
		o, err := outcomeOf(e)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		outcomes[i] = o
	}
	c.send.Lock()
	defer c.send.Unlock()
	for len(envelopes) > 0 {
		n := fits(envelopes)
		c.mu.Lock()
		for i, e := range envelopes[:n] {
			e.Seq = c.next
			c.pending[c.next] = outcomes[i]
			c.next++
		}
		c.mu.Unlock()
		err := c.enqueueFrame(ctx, &wire.ContactClient{Frame: &wire.ContactClient_Send{
			Send: &wire.Send{Envelopes: envelopes[:n], Steps: steps}}})
		if err != nil {
			// The server will never see the assigned seqs, so end the connection.
			c.fail(fmt.Errorf("send: %w", err))
			return fmt.Errorf("send: %w: %w", ErrDown, err)
		}
		envelopes, outcomes = envelopes[n:], outcomes[n:]
	}
	return nil
}

// fits returns how many envelopes fit into one frame, at least one.
func fits(envelopes []*wire.Outgoing) int {
	size := frameRoom
	for i, e := range envelopes {
		size += proto.Size(e) + itemRoom
		if i > 0 && (size > wire.MaxFrame || i >= wire.MaxBatch) {
			return i
		}
	}
	return len(envelopes)
}

func outcomeOf(e *wire.Outgoing) (outcome, error) {
	if len(e.GetCiphertext()) > wire.MaxCiphertext {
		return outcome{}, fmt.Errorf("ciphertext of %d bytes: %w", len(e.GetCiphertext()), ErrTooLarge)
	}
	device, err := key.DeviceIDFromBytes(e.GetDevice())
	if err != nil {
		return outcome{}, err
	}
	if len(e.GetMessageId()) != len(outcome{}.MessageID) {
		return outcome{}, errors.New("message id of the wrong length")
	}
	return outcome{
		MessageID: [16]byte(e.GetMessageId()), Recipient: e.GetRecipient(), Device: device, Class: e.GetClass(),
	}, nil
}

func (c *contact) enqueueFrame(ctx context.Context, f *wire.ContactClient) error {
	b, err := wire.Marshal(f)
	if err != nil {
		return err
	}
	return c.enqueue(ctx, b)
}
