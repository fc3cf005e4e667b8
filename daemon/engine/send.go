package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"secmsg/crypto/identity"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Values of --wait and --require.
const (
	waitQueued      = "queued"
	waitServer      = "server"
	waitDelivered   = "delivered"
	waitRead        = "read"
	requireVerified = "verified"
)

const (
	// maxRecipients bounds the recipients of one send.
	maxRecipients = 256
	// maxKey bounds an idempotency key in bytes.
	maxKey = 256
	// maxExpires bounds --expires, in seconds. Retention ends a longer time.
	maxExpires = 366 * 24 * 3600
)

// Send is Submit with its wait.
func (e *Engine) Send(ctx context.Context, p local.SendParams) (local.SendResults, error) {
	return e.Submit(ctx, p)()
}

// Submit queues a message to each peer. Messages are queued in the order in which
// Submit is called; those that come close together share the wait for the disk. The
// function that it returns must be called. When that function returns, plaintext,
// id and recipient of each message are durable, and it has waited as p.Wait says
// (cmd/secmsg/COMMANDS.md). Errors of single recipients are in their results; an
// error of its own means that nothing was queued. If ctx ends before the message
// was queued, it is not.
func (e *Engine) Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error) {
	replyTo, err := checkParams(p)
	if err != nil {
		return func() (local.SendResults, error) { return local.SendResults{}, err }
	}
	if e.keys.Locked() {
		out, err := e.queueLocked(ctx, p)
		return func() (local.SendResults, error) { return out, err }
	}
	var q queued
	var waits []*wait
	result := make(chan error, 1)
	j := &job{
		tx: func(tx *store.Tx) (err error) {
			q, err = e.queue(tx, p, replyTo, e.now())
			return err
		},
		done: func(err error) {
			if err == nil && p.Wait != waitQueued {
				for _, id := range q.ids {
					waits = append(waits, e.waits.watch(id))
				}
			}
			result <- err
		},
	}
	e.sends.submit(j)
	return func() (local.SendResults, error) {
		select {
		case err = <-result:
		case <-ctx.Done():
			if e.sends.withdraw(j) {
				return local.SendResults{}, ctx.Err()
			}
			err = <-result
		}
		if err != nil {
			return local.SendResults{}, err
		}
		if p.Wait == waitQueued && q.results != nil {
			if !e.Connected() {
				e.Kick() // the caller does not wait, but the message should leave
			}
			return local.SendResults{Results: q.results}, nil
		}
		defer e.unwatch(waits)
		timeout := e.await(ctx, p, waits, q.results)
		if out := seen(waits, q.results); out != nil && !timeout {
			return local.SendResults{Results: out}, nil
		}
		out, err := e.results(ctx, q.ids, p, timeout)
		if timeout {
			e.explain(&out)
		}
		return out, err
	}
}

// queued is the outcome of queueing a send: the new messages, or those that an
// idempotency key stands for; the latter have no results.
type queued struct {
	ids     []store.MessageID
	results []local.SendResult
}

// checkParams checks the parameters as far as that needs no store.
func checkParams(p local.SendParams) (replyTo []byte, err error) {
	switch {
	case len(p.Peers) == 0:
		return nil, local.Errorf(local.CodeUsage, "the recipient is missing")
	case len(p.Peers) > maxRecipients:
		return nil, local.Errorf(local.CodeUsage, "a message can have at most %d recipients", maxRecipients)
	case p.Text == "":
		return nil, local.Errorf(local.CodeUsage, "the text is empty")
	case len(p.Text) > e2e.MaxText:
		return nil, local.Errorf(local.CodeUsage, "the text has %d bytes; a message can have at most %d", len(p.Text), e2e.MaxText).
			WithHint("send it as a file: secmsg send PEER -f FILE")
	case !utf8.ValidString(p.Text):
		return nil, local.Errorf(local.CodeUsage, "the text is not UTF-8")
	case len(p.IdempotencyKey) > maxKey:
		return nil, local.Errorf(local.CodeUsage, "the idempotency key is longer than %d bytes", maxKey)
	case p.Expires < 0 || p.Timeout < 0 || p.Expires != p.Expires || p.Timeout != p.Timeout:
		return nil, local.Errorf(local.CodeUsage, "timeout and expires must not be negative")
	case p.Require != "" && p.Require != requireVerified:
		return nil, local.Errorf(local.CodeUsage, "require must be %q, not %q", requireVerified, p.Require)
	}
	switch p.Wait {
	case "", waitQueued, waitServer, waitDelivered, waitRead:
	default:
		return nil, local.Errorf(local.CodeUsage, "wait must be queued, server, delivered or read, not %q", p.Wait)
	}
	if p.ReplyTo == "" {
		return nil, nil
	}
	id, err := history.ParseID(p.ReplyTo)
	if err != nil {
		return nil, local.Errorf(local.CodeUsage, "reply-to: %q is not a message id", p.ReplyTo)
	}
	return id[:], nil
}

// queue is the first transaction of a message: for each recipient a message row, an
// outbox row and the event of the own message. With a known idempotency key it only
// returns the ids.
func (e *Engine) queue(tx *store.Tx, p local.SendParams, replyTo []byte, sent time.Time) (queued, error) {
	var q queued
	peers, err := e.recipients(tx, p)
	if err != nil {
		return q, err
	}
	var digest []byte
	if p.IdempotencyKey != "" {
		if digest, err = tx.Digest(idempotentContent(p, peers)); err != nil {
			return q, err
		}
		ids, err := e.known(tx, p.IdempotencyKey, digest)
		if err != nil || ids != nil {
			return queued{ids: ids}, err
		}
	}
	if !strings.HasPrefix(p.IdempotencyKey, retryKey) { // a message that is sent again may outlive the one that it answers
		if err := e.checkReply(tx, replyTo); err != nil {
			return q, err
		}
	}
	for _, peer := range peers {
		id, err := history.NewID()
		if err != nil {
			return q, err
		}
		state, err := e.queueOne(tx, id, p, peer, replyTo, sent)
		if err != nil {
			return q, err
		}
		q.ids = append(q.ids, id)
		q.results = append(q.results, local.SendResult{
			ID: history.IDText(id), Peer: peer.addr.String(), State: state, Time: history.TimeMS(e.now().UnixMilli()),
		})
	}
	if p.IdempotencyKey != "" {
		err = tx.SetIdempotent(e.account, p.IdempotencyKey, store.Idempotent{Digest: digest, IDs: joinIDs(q.ids)}, e.profileTime().UnixMilli())
	}
	return q, err
}

// checkReply refuses a reply to a message that this account does not have: the
// recipient could not tell which one is meant. A send that waited for a locked
// profile is not checked, since by then nobody is there to correct the id.
func (e *Engine) checkReply(tx *store.Tx, replyTo []byte) error {
	if len(replyTo) == 0 {
		return nil
	}
	id := store.MessageID(replyTo)
	_, err := tx.MessageHead(e.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return local.Errorf(local.CodeNotFound, "cannot reply: message %s does not exist", history.IDText(id))
	}
	return err
}

// recipient is a resolved peer.
type recipient struct {
	id   store.PeerID
	addr identity.Address
}

// recipients resolves the peers, each once, and checks the conditions of queueing a
// message to them.
func (e *Engine) recipients(tx *store.Tx, p local.SendParams) ([]recipient, error) {
	var out []recipient
	for _, name := range p.Peers {
		addr, err := e.trust.Resolve(tx, e.account, name)
		if err != nil {
			return nil, err
		}
		if addr.Domain != e.self.Domain {
			return nil, local.Errorf(local.CodeNotFound, "%s is in another realm; this account is in %s", addr, e.self.Domain)
		}
		if slices.ContainsFunc(out, func(r recipient) bool { return r.addr == addr }) {
			continue
		}
		id, err := tx.Peer(e.account, addr.String())
		if err != nil {
			return nil, err
		}
		if err := e.checkRecipient(tx, id, addr, p.Require == requireVerified); err != nil {
			return nil, err
		}
		out = append(out, recipient{id: id, addr: addr})
	}
	return out, nil
}

// checkRecipient refuses a blocked peer, and, if verification is required, an
// unverified one.
func (e *Engine) checkRecipient(tx *store.Tx, peer store.PeerID, addr identity.Address, verified bool) error {
	if addr == e.self {
		return nil
	}
	c, err := tx.Contact(e.account, peer)
	if err != nil {
		return err
	}
	if c.Relation == store.RelationBlocked {
		return local.Errorf(local.CodeUsage, "you blocked %s", addr).WithHint("secmsg unblock %s", addr)
	}
	if !verified {
		return nil
	}
	err = e.trust.CheckRequired(tx, e.account, peer)
	switch {
	case errors.Is(err, trust.ErrUnverified):
		return local.Errorf(local.CodeUntrusted, "%s is not verified; nothing was queued", addr).WithHint("secmsg verify %s", addr)
	case errors.Is(err, trust.ErrChanged):
		return local.Errorf(local.CodeUntrusted, "the key of %s has changed; nothing was queued", addr).WithHint("secmsg contact show %s", addr)
	}
	return err
}

// queueOne queues the message to one recipient and returns its state. A message to
// oneself is a note: kept, delivered at once, and copied to the other own devices.
func (e *Engine) queueOne(tx *store.Tx, id store.MessageID, p local.SendParams, to recipient, replyTo []byte, sent time.Time) (state string, err error) {
	text := &e2e.Text{Text: p.Text, ReplyTo: replyTo}
	state = local.StateQueued
	note := to.addr == e.self
	if note {
		state = local.StateDelivered
	}
	c := &e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: text}}
	if err := e.history.AddOwn(tx, id, to.id, c, state, e.device, sent); err != nil {
		return "", err
	}
	if p.Require == requireVerified {
		if err := tx.SetMessageVerified(e.account, id); err != nil {
			return "", err
		}
	}
	if note {
		return state, e.queueSync(tx, &e2e.Sync{Peer: to.addr.String(), MessageId: id[:], What: &e2e.Sync_Sent{Sent: text}})
	}
	added, err := e.trust.MakeContact(tx, e.account, to.id)
	if err != nil {
		return "", err
	}
	if added {
		tx.OnCommit(e.contactAdded)
	}
	return state, e.enqueue(tx, &store.Outgoing{
		ID: id, Peer: to.id, Verified: p.Require == requireVerified, ExpiresMS: e.expiry(p.Expires), SentMS: sent.UnixMilli(),
	}, c)
}

// contactAdded schedules everything that a new contact may release.
func (e *Engine) contactAdded() {
	e.schedule(taskRelations, 0)
	e.schedule(taskReceipts, 0)
	e.schedule(taskSubscribe, 0)
	e.schedule(taskAccept, 0)
}

// expiry returns when a message expires, in profile time.
func (e *Engine) expiry(seconds float64) int64 {
	life := e.cfg.Retention
	if seconds > 0 && seconds < maxExpires {
		life = min(life, time.Duration(seconds*float64(time.Second)))
	}
	return e.profileTime().Add(life).UnixMilli()
}

// enqueue adds a content to the outbox.
func (e *Engine) enqueue(tx *store.Tx, o *store.Outgoing, c *e2e.Content) error {
	body, err := encodeDraft(c)
	if err != nil {
		return err
	}
	o.Account, o.Kind, o.Body = e.account, int32(c.GetKind()), body
	if o.Phase == 0 {
		o.Phase = store.PhaseQueued
	}
	o.CreatedMS = e.profileTime().UnixMilli()
	if o.ExpiresMS == 0 {
		o.ExpiresMS = e.profileTime().Add(e.cfg.Retention).UnixMilli()
	}
	if o.SentMS == 0 {
		o.SentMS = e.now().UnixMilli()
	}
	if err := tx.InsertOutgoing(o); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	expires := time.UnixMilli(o.ExpiresMS).Sub(e.profileTime())
	tx.OnCommit(func() {
		e.schedule(taskPump, 0)
		e.schedule(taskExpire, expires)
	})
	return nil
}

// control adds control content to the outbox, for one device of a peer or for all.
func (e *Engine) control(tx *store.Tx, peer store.PeerID, device []byte, c *e2e.Content) error {
	id, err := history.NewID()
	if err != nil {
		return err
	}
	return e.enqueue(tx, &store.Outgoing{ID: id, Peer: peer, Device: device, Control: true}, c)
}

// queueSync queues a copy for the other own devices, if there are any.
func (e *Engine) queueSync(tx *store.Tx, s *e2e.Sync) error {
	others, _, err := e.trust.OwnDevices(tx, e.account)
	if err != nil || len(others) == 0 {
		return err
	}
	return e.control(tx, e.selfPeer, nil, &e2e.Content{Kind: e2e.Kind_KIND_SYNC, Body: &e2e.Content_Sync{Sync: s}})
}
