package local

import (
	"context"
	"errors"
	"time"
)

// call is Call with a typed result.
func call[R any](ctx context.Context, c *Client, method string, params any) (R, error) {
	var r R
	err := c.Call(ctx, method, params, &r)
	return r, err
}

// Status returns the state of the daemon and its accounts.
func (c *Client) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	st, err := call[Status](ctx, c, MethodStatusGet, Empty{})
	return st, c.noAnswer(ctx, err)
}

// Check sends a probe through the server and back, for one account or for all.
func (c *Client) Check(ctx context.Context, account string) ([]CheckResult, error) {
	return call[[]CheckResult](ctx, c, MethodStatusCheck, AccountParam{Account: account})
}

// DebugState tells what the daemon is waiting for.
func (c *Client) DebugState(ctx context.Context) (DebugState, error) {
	return call[DebugState](ctx, c, MethodDebugState, Empty{})
}

// DebugGoroutines returns the stacks of the daemon's goroutines.
func (c *Client) DebugGoroutines(ctx context.Context) (DebugGoroutines, error) {
	return call[DebugGoroutines](ctx, c, MethodDebugGoroutines, Empty{})
}

// Stop asks the daemon to end. The daemon answers before it ends.
func (c *Client) Stop(ctx context.Context) error {
	return c.stop(ctx, StopParams{})
}

// StopIfIdle is Stop for a daemon that has no work which a restart would disturb. Otherwise it returns
// an error of code refused that names the work.
func (c *Client) StopIfIdle(ctx context.Context) error {
	return c.stop(ctx, StopParams{IfIdle: true})
}

func (c *Client) stop(ctx context.Context, p StopParams) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	return c.noAnswer(ctx, c.Call(ctx, MethodDaemonStop, p, nil))
}

// answerTimeout bounds calls that wait for nothing but the daemon's own disk.
const answerTimeout = 20 * time.Second

var errNoAnswer = errors.New("no answer in time")

// noAnswer returns the error for the end of answerTimeout.
func (c *Client) noAnswer(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), errNoAnswer) {
		return err
	}
	if err := hanging(c.target.Lock, answerTimeout); err != nil {
		return err
	}
	return Errorf(CodeNoDaemon, "the daemon, pid %d, has not answered for %s", c.hello.PID, answerTimeout)
}

// Join redeems an invite. Repeating it with the same invite and name continues an interrupted join.
func (c *Client) Join(ctx context.Context, p JoinParams) (Account, error) {
	return call[Account](ctx, c, MethodAccountJoin, p)
}

// Accounts lists the user's accounts.
func (c *Client) Accounts(ctx context.Context) ([]Account, error) {
	return call[[]Account](ctx, c, MethodAccountList, Empty{})
}

// Account describes one of the user's accounts. An empty name means the only or the default one.
func (c *Client) Account(ctx context.Context, name string) (Account, error) {
	return call[Account](ctx, c, MethodAccountShow, AccountNameParams{Name: name})
}

// SetDefaultAccount makes an account the default one.
func (c *Client) SetDefaultAccount(ctx context.Context, name string) error {
	return c.Call(ctx, MethodAccountDefault, AccountNameParams{Name: name}, nil)
}

// RemoveAccount removes an account and its data from this machine.
func (c *Client) RemoveAccount(ctx context.Context, name string) error {
	return c.Call(ctx, MethodAccountRemove, AccountNameParams{Name: name}, nil)
}

// Lock locks the profile.
func (c *Client) Lock(ctx context.Context) error {
	return c.Call(ctx, MethodProfileLock, Empty{}, nil)
}

// Unlock unlocks the profile.
func (c *Client) Unlock(ctx context.Context, passphrase string) error {
	return c.Call(ctx, MethodProfileUnlock, UnlockParams{Passphrase: passphrase}, nil)
}

// Send sends a text. Failures for single recipients are in their results.
func (c *Client) Send(ctx context.Context, p SendParams) (SendResults, error) {
	return call[SendResults](ctx, c, MethodMessageSend, p)
}

// StartSend sends a text without waiting for the result. The texts of one
// goroutine are queued in the order in which it starts them.
func (c *Client) StartSend(p SendParams) (*PendingSend, error) {
	started, err := c.Start(MethodMessageSend, p)
	if err != nil {
		return nil, err
	}
	return &PendingSend{started}, nil
}

// PendingSend is a Send whose results have not arrived yet.
type PendingSend struct{ p *Pending }

// Wait returns the results of the Send. Call it only once.
func (s *PendingSend) Wait(ctx context.Context) (SendResults, error) {
	var out SendResults
	err := s.p.Wait(ctx, &out)
	return out, err
}

// Inbox returns unread messages, oldest first, and marks them as read unless p.Peek.
func (c *Client) Inbox(ctx context.Context, p InboxParams) (Events, error) {
	return call[Events](ctx, c, MethodMessageInbox, p)
}

// History returns the messages exchanged with a peer, oldest first.
func (c *Client) History(ctx context.Context, p HistoryParams) (Events, error) {
	return call[Events](ctx, c, MethodMessageHistory, p)
}

// Outbox lists the user's undelivered messages, oldest first.
func (c *Client) Outbox(ctx context.Context, account string) (SendResults, error) {
	return call[SendResults](ctx, c, MethodOutboxList, AccountParam{Account: account})
}

// RetryOutbox sends a waiting message now. A message that failed or expired is sent again as a new
// message.
func (c *Client) RetryOutbox(ctx context.Context, p OutboxParams) (SendResult, error) {
	return call[SendResult](ctx, c, MethodOutboxRetry, p)
}

// CancelOutbox withdraws a message that the server does not have yet.
func (c *Client) CancelOutbox(ctx context.Context, p OutboxParams) (SendResult, error) {
	return call[SendResult](ctx, c, MethodOutboxCancel, p)
}

// MarkRead marks messages of a peer as read and sends the read receipts unless they are off.
func (c *Client) MarkRead(ctx context.Context, p ReadParams) (ReadResult, error) {
	return call[ReadResult](ctx, c, MethodReceiptRead, p)
}

// Fail reports that a consumer's handler failed on an event.
func (c *Client) Fail(ctx context.Context, p FailParams) (Failed, error) {
	return call[Failed](ctx, c, MethodEventFail, p)
}

// Ack moves a consumer's cursor to an event, which acknowledges all earlier ones, too.
func (c *Client) Ack(ctx context.Context, p AckParams) error {
	return c.Call(ctx, MethodEventAck, p, nil)
}

// Consumers lists the named consumers.
func (c *Client) Consumers(ctx context.Context) (Consumers, error) {
	return call[Consumers](ctx, c, MethodConsumerList, Empty{})
}

// RemoveConsumer removes a consumer and its cursor.
func (c *Client) RemoveConsumer(ctx context.Context, name string) error {
	return c.Call(ctx, MethodConsumerRemove, ConsumerParams{Name: name}, nil)
}

// Contacts lists the peers that an account knows.
func (c *Client) Contacts(ctx context.Context, account string) (Contacts, error) {
	return call[Contacts](ctx, c, MethodContactList, AccountParam{Account: account})
}

// Contact describes one peer.
func (c *Client) Contact(ctx context.Context, p PeerParams) (Contact, error) {
	return call[Contact](ctx, c, MethodContactShow, p)
}

// AddContact puts a peer on the contact list.
func (c *Client) AddContact(ctx context.Context, p PeerParams) (Contact, error) {
	return call[Contact](ctx, c, MethodContactAdd, p)
}

// NickContact gives a peer a local name.
func (c *Client) NickContact(ctx context.Context, p ContactNickParams) (Contact, error) {
	return call[Contact](ctx, c, MethodContactNick, p)
}

// RemoveContact takes a peer off the contact list.
func (c *Client) RemoveContact(ctx context.Context, p PeerParams) error {
	return c.Call(ctx, MethodContactRemove, p, nil)
}

// SetContact sets a policy of a peer.
func (c *Client) SetContact(ctx context.Context, p ContactSetParams) (Contact, error) {
	return call[Contact](ctx, c, MethodContactSet, p)
}

// Block refuses everything from a peer.
func (c *Client) Block(ctx context.Context, p PeerParams) (Contact, error) {
	return call[Contact](ctx, c, MethodContactBlock, p)
}

// Unblock reverses Block.
func (c *Client) Unblock(ctx context.Context, p PeerParams) (Contact, error) {
	return call[Contact](ctx, c, MethodContactUnblock, p)
}

// Verify returns the safety number of a peer's pinned key, and compares or confirms it.
func (c *Client) Verify(ctx context.Context, p VerifyParams) (Verification, error) {
	return call[Verification](ctx, c, MethodIdentityVerify, p)
}

// Trust decides about a peer's changed key.
func (c *Client) Trust(ctx context.Context, p TrustParams) (Contact, error) {
	return call[Contact](ctx, c, MethodIdentityTrust, p)
}

// Presence returns which peers are online, as far as they share it with this account.
func (c *Client) Presence(ctx context.Context, p PresenceParams) (PresenceList, error) {
	return call[PresenceList](ctx, c, MethodPresenceList, p)
}

// Devices lists the devices of one of the user's accounts.
func (c *Client) Devices(ctx context.Context, account string) (Devices, error) {
	return call[Devices](ctx, c, MethodDeviceList, AccountParam{Account: account})
}
