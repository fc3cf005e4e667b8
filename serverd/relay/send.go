package relay

import (
	"context"
	"fmt"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// maxName bounds a recipient's name before the look-up. Valid names are shorter (identity.ValidUser).
const maxName = 64

// verdict is the decision about an envelope at admission. A zero reason admits it.
type verdict struct {
	reason  wire.Reason
	final   bool
	retry   time.Duration
	blocks  bool // blocks the pair until this message is sent again
	mutual  bool // it may be handed over from memory
	request bool // it is a stranger's request
	fresh   bool // decided with data read from the store
	version uint64
}

func refuse(reason wire.Reason) verdict { return verdict{reason: reason, final: true} }

// send handles a Send frame. It returns an error if the peer violates the protocol.
func (c *contact) send(f *wire.Send) error {
	if !c.d.sending(c, f.GetSteps()) {
		return nil // the connection ends without an answer
	}
	if len(f.GetEnvelopes()) > wire.MaxBatch {
		return fmt.Errorf("a Send has more than %d envelopes", wire.MaxBatch)
	}
	if c.pairs.full() {
		c.sock.end(&wire.Bye{Reason: wire.Reason_REASON_RATE, RetryAfterMs: retryStore.Milliseconds(), Text: "too many recipient devices have refused envelopes"})
		return nil
	}
	for _, out := range f.GetEnvelopes() {
		if out.GetSeq() != c.seq+1 {
			return fmt.Errorf("envelope %d does not follow %d", out.GetSeq(), c.seq)
		}
		c.seq++
		c.sendOne(out)
		if !c.waitRoom() {
			return nil
		}
	}
	return nil
}

// sendOne admits one envelope or refuses it.
func (c *contact) sendOne(out *wire.Outgoing) {
	r := c.sock.relay
	size := len(out.GetCiphertext())
	c.taken(size)
	now := r.now()
	to, expires, v := checkShape(out, now, r.limits.Retention, r.held())
	mail := store.Mail{
		Account: out.GetRecipient(), Device: to, Class: uint8(out.GetClass()),
		Sender: c.account, SenderDevice: c.d.id, Accepted: now, Expires: expires, Ciphertext: out.GetCiphertext(),
	}
	copy(mail.MessageID[:], out.GetMessageId())
	r.passed(Received, &mail, 0, now)
	var gen uint32
	durable := out.GetClass() == wire.Class_CLASS_DURABLE
	if v.reason == wire.Reason_REASON_UNSPECIFIED && durable {
		var ok bool
		if ok, gen = c.pairs.admit(to, mail.MessageID, out.GetResume()); !ok {
			v = verdict{reason: wire.Reason_REASON_ORDER}
		}
	}
	if v.reason == wire.Reason_REASON_UNSPECIFIED {
		v = c.admit(out, to, size)
	}
	if v.reason == wire.Reason_REASON_UNSPECIFIED && r.memory.Load()+int64(size) > r.limits.MemoryBytes {
		v = verdict{reason: wire.Reason_REASON_UNAVAILABLE, retry: retryStore, blocks: true}
	}
	if v.reason != wire.Reason_REASON_UNSPECIFIED {
		if v.blocks && durable {
			c.pairs.block(to, mail.MessageID)
		}
		r.passed(Refused, &mail, v.reason, now)
		c.reject(out.GetSeq(), size, v.reason, v.final, v.retry)
		return
	}
	r.memory.Add(int64(size))
	mail.Request = v.request
	d := r.devices.acquire(to)
	d.deliver(&item{to: d, from: c, seq: out.GetSeq(), gen: gen, size: size, mail: mail}, v.mutual)
}

// checkShape makes the checks that need no store. While the server's clock is not trusted (held), the sender's expiry
// cannot be compared with it: checkShape then ignores that expiry and uses the relay's own retention.
func checkShape(out *wire.Outgoing, now time.Time, retention time.Duration, held bool) (to key.DeviceID, expires time.Time, v verdict) {
	to, ok := deviceIDOf(out.GetDevice())
	size := len(out.GetCiphertext())
	switch {
	case !ok, len(out.GetMessageId()) != 16, size == 0, len(out.GetRecipient()) == 0, len(out.GetRecipient()) > maxName:
		return to, expires, refuse(wire.Reason_REASON_MALFORMED)
	case size > wire.MaxCiphertext:
		return to, expires, refuse(wire.Reason_REASON_TOO_LARGE)
	}
	switch out.GetClass() {
	case wire.Class_CLASS_DURABLE, wire.Class_CLASS_ONLINE, wire.Class_CLASS_PROBE:
	default:
		return to, expires, refuse(wire.Reason_REASON_MALFORMED)
	}
	expires = now.Add(retention)
	if ms := out.GetExpiresMs(); ms != 0 && !held {
		if ms <= now.UnixMilli() {
			return to, expires, refuse(wire.Reason_REASON_EXPIRED)
		}
		if ms < expires.UnixMilli() {
			expires = time.UnixMilli(ms)
		}
	}
	return to, expires, verdict{}
}

// admit applies the rules about accounts and rates.
func (c *contact) admit(out *wire.Outgoing, to key.DeviceID, size int) verdict {
	if wait := c.countMessage([16]byte(out.GetMessageId())); wait > 0 {
		return verdict{reason: wire.Reason_REASON_RATE, retry: wait, blocks: true}
	}
	// A refusal is never based on the cache: it is confirmed against the store.
	v, err := c.judge(out, to, size, false)
	if err == nil && v.reason != wire.Reason_REASON_UNSPECIFIED && !v.fresh {
		v, err = c.judge(out, to, size, true)
	}
	if err == nil && v.version != 0 && out.GetManifestVersion() < v.version {
		err = c.queueNewManifests(context.Background(), out.GetRecipient(), out.GetManifestVersion(), v.version)
	}
	if err != nil {
		c.sock.relay.log.Error("admit an envelope", "error", err)
		return verdict{reason: wire.Reason_REASON_UNAVAILABLE, retry: retryStore, blocks: true}
	}
	return v
}

// countMessage charges a message to the account's rate and returns how long to wait. All envelopes of one message, for
// the devices of both accounts, count once.
func (c *contact) countMessage(id [16]byte) time.Duration {
	if c.lastFor > 0 && c.lastFor < 2*wire.MaxDevices && c.lastID == id {
		c.lastFor++
		return 0
	}
	wait := c.limiter.message()
	if wait == 0 {
		c.lastID, c.lastFor = id, 1
	}
	return wait
}

// judge decides by account, relation and class. fresh reads them from the store instead of the cache.
func (c *contact) judge(out *wire.Outgoing, to key.DeviceID, size int, fresh bool) (verdict, error) {
	ctx := context.Background()
	dir := &c.sock.relay.dir
	refused := func(reason wire.Reason, final bool) (verdict, error) {
		return verdict{reason: reason, final: final, fresh: fresh}, nil
	}
	sender, err := dir.account(ctx, c.account, fresh)
	if err != nil {
		return verdict{}, err
	}
	if !sender.exists || sender.suspended {
		return refused(wire.Reason_REASON_SUSPENDED, true)
	}
	name := out.GetRecipient()
	if name == c.account {
		return c.judgeOwn(out, to, sender, fresh), nil
	}
	if out.GetClass() == wire.Class_CLASS_PROBE {
		return verdict{reason: wire.Reason_REASON_MALFORMED, final: true, fresh: true}, nil
	}
	theirs, err := dir.relation(ctx, name, c.account, fresh)
	if err != nil {
		return verdict{}, err
	}
	mine, err := dir.relation(ctx, c.account, name, fresh)
	if err != nil {
		return verdict{}, err
	}
	mutual := theirs == store.RelationContact && mine == store.RelationContact
	if !mutual {
		// An account that has guessed too many names gets no further answers about names.
		if wait := c.limiter.strangerWait(); wait > 0 {
			return verdict{reason: wire.Reason_REASON_RATE, retry: wait, fresh: true, blocks: true}, nil
		}
	}
	peer, err := dir.account(ctx, name, fresh)
	switch {
	case err != nil:
		return verdict{}, err
	case !peer.exists:
		if fresh {
			c.limiter.stranger()
		}
		return refused(wire.Reason_REASON_UNKNOWN, true)
	case theirs == store.RelationBlocked:
		return refused(wire.Reason_REASON_BLOCKED, true)
	case peer.suspended:
		return refused(wire.Reason_REASON_SUSPENDED, true)
	}
	if out.GetClass() == wire.Class_CLASS_ONLINE && !mutual {
		// The answer would reveal whether the device is connected.
		return refused(wire.Reason_REASON_REQUEST, false)
	}
	v := verdict{mutual: mutual, version: peer.version, fresh: fresh}
	if _, listed := peer.devices[to]; !listed {
		v.reason, v.final = wire.Reason_REASON_DEVICE_GONE, true
		return v, nil
	}
	if theirs == store.RelationContact {
		return v, nil
	}
	if size > wire.MaxRequestCiphertext {
		return refused(wire.Reason_REASON_REQUEST, false)
	}
	if !fresh {
		// The cached relation may be outdated; a new contact must not be treated as a stranger.
		return c.judge(out, to, size, true)
	}
	ok, err := c.sock.relay.store.AddRequest(ctx, c.account, name, [16]byte(out.GetMessageId()))
	if err != nil {
		return verdict{}, err
	}
	if !ok {
		return refused(wire.Reason_REASON_REQUEST, false)
	}
	v.request = true
	return v, nil
}

// judgeOwn decides about envelopes within the sender's own account: probes must go to the sending device itself,
// everything else to the other devices.
func (c *contact) judgeOwn(out *wire.Outgoing, to key.DeviceID, own accountInfo, fresh bool) verdict {
	probe := out.GetClass() == wire.Class_CLASS_PROBE
	if probe != (to == c.d.id) {
		return verdict{reason: wire.Reason_REASON_MALFORMED, final: true, fresh: true}
	}
	v := verdict{mutual: true, fresh: fresh}
	if !probe {
		v.version = own.version
	}
	if _, listed := own.devices[to]; !listed {
		v.reason, v.final = wire.Reason_REASON_DEVICE_GONE, true
	}
	return v
}
