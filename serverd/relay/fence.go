package relay

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// fenceSize is the length of a fence value in bytes. 256 random bits cannot be guessed.
const fenceSize = 32

// open runs the opening of a contact connection (PROTOCOL.md, section 3.1):
//
//	Fence -> check -> FenceIssued -> FenceConfirm -> FenceConfirmed
//
// Only the last step replaces an older connection.
func (c *contact) open() bool {
	_ = c.sock.ws.SetReadDeadline(time.Now().Add(c.sock.relay.limits.Open))
	frame := c.readOpening()
	fence := frame.GetFence()
	if frame == nil {
		return false
	}
	if fence == nil || fence.GetProtocol() != wire.ProtocolVersion {
		c.sock.fail("a Fence of protocol 1 was expected")
		return false
	}
	issued, ok := c.issue(fence)
	if !ok {
		return false
	}
	if frame = c.readOpening(); frame == nil {
		return false
	}
	confirm := frame.GetConfirm()
	if confirm == nil || subtle.ConstantTimeCompare(confirm.GetValue(), issued) != 1 {
		c.sock.fail("a FenceConfirm of the issued value was expected")
		return false
	}
	if !c.confirm() {
		return false
	}
	_ = c.sock.ws.SetReadDeadline(time.Time{})
	return true
}

// readOpening reads one frame of the opening. It returns nil when the connection ends.
func (c *contact) readOpening() *wire.ContactClient {
	buf, err := c.sock.read()
	if err != nil {
		c.sock.readFailed(err)
		return nil
	}
	frame := new(wire.ContactClient)
	err = wire.Unmarshal(*buf, frame)
	c.sock.free(buf)
	if err != nil {
		c.sock.fail("a frame cannot be decoded")
		return nil
	}
	return frame
}

// issue checks the fence and issues a new value. If the device shows the value issued last, it has stored it, so issue
// confirms that value first. At every moment the server therefore keeps the value that the device will show next.
func (c *contact) issue(shown *wire.Fence) ([]byte, bool) {
	r, d := c.sock.relay, c.d
	ctx := context.Background()
	d.opening.Lock()
	defer d.opening.Unlock()
	if !c.sock.mayOpen(ctx) {
		return nil, false
	}
	kept, err := r.store.Fence(ctx, d.id)
	if err != nil {
		c.sock.storeFailed("fence", err)
		return nil, false
	}
	d.mu.Lock()
	steps := max(kept.Steps, d.steps)
	other := d.contact != nil || d.replica != nil
	d.mu.Unlock()
	if !fenceFits(kept, shown.GetValue()) || shown.GetSteps() < steps {
		c.stale(other)
		return nil, false
	}
	if len(kept.Issued) > 0 && subtle.ConstantTimeCompare(kept.Issued, shown.GetValue()) == 1 {
		if err := r.store.ConfirmFence(ctx, d.id); err != nil {
			c.sock.storeFailed("confirm fence", err)
			return nil, false
		}
	}
	value := make([]byte, fenceSize)
	rand.Read(value) // crypto/rand: never fails
	err = r.store.IssueFence(ctx, d.id, value, shown.GetSteps())
	if errors.Is(err, store.ErrNotFound) {
		c.sock.end(&wire.Bye{Reason: wire.Reason_REASON_REVOKED, Text: byeText(wire.Reason_REASON_REVOKED)})
		return nil, false
	}
	if err != nil {
		c.sock.storeFailed("issue fence", err)
		return nil, false
	}
	c.shown = shown.GetSteps()
	d.mu.Lock()
	d.steps = max(d.steps, c.shown)
	before := d.candidate
	d.candidate = c
	d.mu.Unlock()
	if before != nil {
		before.sock.kill() // the value it was issued can no longer be confirmed
	}
	err = c.queue(&wire.ContactServer{Frame: &wire.ContactServer_Issued{Issued: &wire.FenceIssued{
		Value: value, TimeMs: r.now().UnixMilli(),
	}}})
	return value, err == nil
}

// stale refuses the connection of an older copy of the device. other adds that another copy is connected.
func (c *contact) stale(other bool) {
	c.sock.relay.counters.stale.Add(1)
	text := "this copy of the device is old"
	if other {
		text = wire.ByeOtherCopy
	}
	c.sock.end(&wire.Bye{Reason: wire.Reason_REASON_STALE_FENCE, Text: text})
}

// fenceFits reports whether a device may show value. Before the first confirmation nothing was sealed under this fence,
// so any value fits: when a server is restored from a backup, its devices show values that it does not know.
func fenceFits(kept store.Fence, value []byte) bool {
	if len(kept.Confirmed) == 0 {
		return true
	}
	return subtle.ConstantTimeCompare(kept.Confirmed, value) == 1 ||
		(len(kept.Issued) > 0 && subtle.ConstantTimeCompare(kept.Issued, value) == 1)
}

// confirm confirms the issued value and makes this the device's contact connection, once the older connections have
// ended.
func (c *contact) confirm() bool {
	r, d := c.sock.relay, c.d
	d.opening.Lock()
	defer d.opening.Unlock()
	d.mu.Lock()
	current := d.candidate == c
	if current {
		d.candidate = nil
	}
	d.mu.Unlock()
	if !current {
		return false
	}
	// The connected copy may have sealed messages since this one sent its fence frame. Only messages sent count: a
	// device that lost its contact connection still acknowledges on its replica connection, which raises the same step
	// count.
	if !d.supersede(c.shown) {
		c.stale(true)
		return false
	}
	d.mu.Lock()
	old, replica := d.contact, d.replica
	d.mu.Unlock()
	if err := r.store.ConfirmFence(context.Background(), d.id); err != nil {
		c.sock.storeFailed("confirm fence", err)
		if old != nil {
			old.sock.kill() // it cannot send any longer; the device reconnects
		}
		return false
	}
	if old != nil {
		old.sock.end(&wire.Bye{Reason: wire.Reason_REASON_REPLACED, Text: byeText(wire.Reason_REASON_REPLACED)})
		<-old.sock.done
	}
	if replica != nil {
		// The replica connection was opened under an older value. It gets no Bye: this device opens it again, and
		// "replaced" would tell it to stop.
		replica.sock.kill()
		<-replica.sock.done
	}
	d.mu.Lock()
	d.contact = c
	d.mu.Unlock()
	return c.queue(&wire.ContactServer{Frame: &wire.ContactServer_Confirmed{Confirmed: &wire.FenceConfirmed{}}}) == nil
}
