package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// contactFrames bounds the bytes of stale-manifest frames queued for a contact connection that reads slowly.
const contactFrames = 256 << 10

// contact is a device's sending connection. See the glossary in the package comment.
type contact struct {
	// constant
	sock    *socket
	d       *device
	account string
	limiter *accountLimits
	pairs   pairs // has its own lock

	// owned by the reader
	shown   uint64 // step count of the Fence frame
	seq     uint64 // sequence number of the last envelope
	lastID  [16]byte
	lastFor int               // envelopes counted as part of message lastID
	told    map[string]uint64 // newest manifest version sent in a stale frame, by account

	superseded bool // a newer connection takes over; guarded by d.mu

	// owned by presence
	watched  map[string]bool // whether c was last told that the account is a mutual contact
	announce bool

	mu         sync.Mutex // guards below
	frames     [][]byte   // encoded; written before any result
	frameBytes int
	accepted   []uint64
	rejected   []*wire.Rejected
	states     map[string]*wire.PresenceState // unsent; the newest of each account
	waiting    int                            // envelopes whose result is not written yet
	waitBytes  int                            // their bytes
	room       chan struct{}                  // buffered, capacity 1: one of the bounds of waitRoom has room again
}

func newContact(s *socket) *contact {
	return &contact{sock: s, account: s.account, room: make(chan struct{}, 1)}
}

// serve runs on the reader goroutine until the connection ends.
func (c *contact) serve() {
	r := c.sock.relay
	c.d = r.devices.acquire(c.sock.device)
	defer c.d.release()
	c.limiter = r.accounts.acquire(c.account)
	defer r.accounts.release(c.account)
	defer c.leave()
	if elsewhere(c.open) {
		c.sock.frames(c.readFrame)
		r.presence.leave(c)
		r.flushSteps([]*device{c.d})
	}
	c.sock.waitEnd()
}

// leave removes the connection from its device.
func (c *contact) leave() {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.contact == c {
		c.d.contact = nil
	}
	if c.d.candidate == c {
		c.d.candidate = nil
	}
}

// readFrame handles one frame. It returns false when the connection ends.
func (c *contact) readFrame() bool {
	if !c.waitRoom() {
		return false
	}
	buf, err := c.sock.read()
	if err != nil {
		c.sock.readFailed(err)
		return false
	}
	var frame wire.ContactClient
	err = wire.Unmarshal(*buf, &frame)
	c.sock.free(buf)
	if err != nil {
		c.sock.fail("a frame cannot be decoded")
		return false
	}
	switch f := frame.GetFrame().(type) {
	case *wire.ContactClient_Send:
		if err := c.send(f.Send); err != nil {
			c.sock.fail(err.Error())
			return false
		}
	case *wire.ContactClient_Subscribe:
		return c.subscribe(f.Subscribe)
	default:
		c.sock.fail("a Send or Subscribe was expected")
		return false
	}
	return true
}

// subscribe handles a Subscribe frame. It returns false when the connection ends. Every name costs store reads by the
// one presence worker, so an account that subscribes to too many names waits.
func (c *contact) subscribe(f *wire.Subscribe) bool {
	if len(f.GetAccounts()) > wire.MaxSubscribe {
		c.sock.fail("too many accounts in a Subscribe")
		return false
	}
	for _, name := range f.GetAccounts() {
		if len(name) > maxName {
			c.sock.fail("a name in a Subscribe is too long")
			return false
		}
	}
	if wait := c.limiter.watch(1 + len(f.GetAccounts())); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.sock.dead:
			return false
		}
	}
	c.sock.relay.presence.subscribe(c, f.GetAccounts(), f.GetAnnounce())
	return true
}

// waitRoom blocks while this connection has too many unanswered envelopes or unwritten frames. It returns false when
// the connection has ended.
func (c *contact) waitRoom() bool {
	l := &c.sock.relay.limits
	defer c.sock.readPaused.Store(false)
	for {
		c.mu.Lock()
		ok := c.waiting < l.SendWindow && c.waitBytes < l.SendBytes && c.frameBytes < contactFrames
		c.mu.Unlock()
		if ok {
			return true
		}
		c.sock.readPaused.Store(true)
		select {
		case <-c.room:
		case <-c.sock.dead:
			return false
		}
	}
}

// freed wakes waitRoom.
func (c *contact) freed() {
	select {
	case c.room <- struct{}{}:
	default:
	}
}

// taken counts an envelope that will get a result.
func (c *contact) taken(size int) {
	c.mu.Lock()
	c.waiting++
	c.waitBytes += size
	c.mu.Unlock()
}

// accept queues the result "accepted": the recipient's device or its mailbox has the envelope.
func (c *contact) accept(seq uint64, size int) {
	c.mu.Lock()
	c.waitBytes -= size
	c.accepted = append(c.accepted, seq)
	c.mu.Unlock()
	c.freed()
	c.sock.wake()
}

// reject queues the result "refused".
func (c *contact) reject(seq uint64, size int, reason wire.Reason, final bool, retry time.Duration) {
	c.sock.relay.counters.reject(reason)
	rejected := &wire.Rejected{Seq: seq, Reason: reason, Final: final, RetryAfterMs: retry.Milliseconds()}
	c.mu.Lock()
	c.waitBytes -= size
	c.rejected = append(c.rejected, rejected)
	c.mu.Unlock()
	c.freed()
	c.sock.wake()
}

// queue adds a frame that is written before any later result.
func (c *contact) queue(frame *wire.ContactServer) error {
	b, err := wire.Marshal(frame)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.frames = append(c.frames, b)
	c.frameBytes += len(b)
	c.mu.Unlock()
	c.sock.wake()
	return nil
}

// queueStates queues presence states. A newer state of an account replaces a queued one. A snapshot replaces all
// queued states, because it covers every account still watched. So at most wire.MaxSubscribe states are queued.
func (c *contact) queueStates(states []*wire.PresenceState, snapshot bool) {
	c.mu.Lock()
	if c.states == nil || snapshot {
		c.states = make(map[string]*wire.PresenceState, len(states))
	}
	for _, st := range states {
		c.states[st.Account] = st
	}
	c.mu.Unlock()
	c.sock.wake()
}

// next appends the next frame: queued frames first, then results, then presence.
func (c *contact) next(buf []byte) ([]byte, error) {
	c.mu.Lock()
	if len(c.frames) > 0 {
		buf = append(buf, c.frames[0]...)
		c.frameBytes -= len(c.frames[0])
		c.frames = c.frames[1:]
		if len(c.frames) == 0 {
			c.frames = nil
		}
		c.mu.Unlock()
		c.freed()
		return buf, nil
	}
	frame := new(wire.ContactServer)
	switch {
	case len(c.accepted)+len(c.rejected) > 0:
		frame.Frame = &wire.ContactServer_Result{Result: &wire.SendResult{Accepted: c.accepted, Rejected: c.rejected}}
		// Results count as waiting until here, so that a peer that does not read cannot pile them up.
		c.waiting -= len(c.accepted) + len(c.rejected)
		c.accepted, c.rejected = nil, nil
	case len(c.states) > 0:
		states := make([]*wire.PresenceState, 0, len(c.states))
		for _, st := range c.states {
			states = append(states, st)
		}
		c.states = nil
		frame.Frame = &wire.ContactServer_Presence{Presence: &wire.Presence{States: states}}
	default:
		c.mu.Unlock()
		return buf, nil
	}
	c.mu.Unlock()
	c.freed()
	b, err := wire.Marshal(frame)
	return append(buf, b...), err
}

// bye encodes a Bye as the connection's last frame.
func (c *contact) bye(b *wire.Bye) ([]byte, error) {
	return wire.Marshal(&wire.ContactServer{Frame: &wire.ContactServer_Bye{Bye: b}})
}

// manifestsPage is how many manifests are read at once. A frame of them ends at staleBytes.
const (
	manifestsPage = 50
	staleBytes    = 64 << 10
)

// queueNewManifests queues the manifests newer than the version that a send named, once for each version and
// connection.
func (c *contact) queueNewManifests(ctx context.Context, account string, named, newest uint64) error {
	after := max(named, c.told[account])
	if after >= newest {
		return nil
	}
	for after < newest {
		page, err := c.sock.relay.store.Manifests(ctx, account, after, manifestsPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		frame := &wire.StaleManifest{Account: account}
		size := 0
		for _, m := range page {
			if size > 0 && size+len(m.Signed) > staleBytes {
				break
			}
			size += len(m.Signed)
			frame.Manifests = append(frame.Manifests, m.Signed)
			after = m.Version
		}
		if err := c.queue(&wire.ContactServer{Frame: &wire.ContactServer_Stale{Stale: frame}}); err != nil {
			return fmt.Errorf("stale manifests: %w", err)
		}
		if !c.waitFrames() {
			return errProtocol
		}
	}
	if c.told == nil || len(c.told) >= wire.MaxSubscribe {
		c.told = make(map[string]uint64)
	}
	c.told[account] = after
	return nil
}

// waitFrames blocks while too many frames wait to be written. It returns false when the connection has ended.
func (c *contact) waitFrames() bool {
	for {
		c.mu.Lock()
		ok := c.frameBytes < contactFrames
		c.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-c.room:
		case <-c.sock.dead:
			return false
		}
	}
}

// deviceIDOf returns b as a device id, and false if b has the wrong length.
func deviceIDOf(b []byte) (key.DeviceID, bool) {
	id, err := key.DeviceIDFromBytes(b)
	return id, err == nil
}
