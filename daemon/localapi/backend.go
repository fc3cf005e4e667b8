package localapi

import (
	"context"
	"io"

	"secmsg/daemon/call"
	"secmsg/rpc/local"
)

// Backend does the work of the handlers; the daemon implements it. Its methods return
// *local.Error for everything that a caller can act on. Other errors are logged in full,
// and the caller gets "internal". An empty account parameter means the only account or the
// default one.
type Backend interface {
	// Hello describes the daemon. It does not block.
	Hello() local.Hello
	// CheckIdle returns an error with the code refused if stopping the daemon now would end
	// something that cannot be resumed.
	CheckIdle(ctx context.Context) error
	Status(ctx context.Context) (local.Status, error)
	Check(ctx context.Context, account string) ([]local.CheckResult, error)
	Stop()

	Join(ctx context.Context, p local.JoinParams) (local.Account, error)
	Accounts(ctx context.Context) ([]local.Account, error)
	Account(ctx context.Context, name string) (local.Account, error)
	SetDefaultAccount(ctx context.Context, name string) error
	RemoveAccount(ctx context.Context, name string) error
	Lock(ctx context.Context) error
	Unlock(ctx context.Context, passphrase string) error

	// Submit queues a message, in the order of its calls. It waits at most for a write to
	// the disk. The caller calls the returned function once; it waits as p.Wait says.
	Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error)
	Inbox(ctx context.Context, p local.InboxParams) (local.Events, error)
	History(ctx context.Context, p local.HistoryParams) (local.Events, error)
	Outbox(ctx context.Context, account string) (local.SendResults, error)
	RetryOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error)
	CancelOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error)
	MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error)

	// Subscribe starts a subscription. The caller reads Events until it is closed, then Err
	// returns why. It always calls Close.
	Subscribe(ctx context.Context, p local.SubscribeParams) (local.Subscribed, Subscription, error)
	// Links returns the known connection states of the accounts. The channel is closed when
	// one changes.
	Links() ([]local.Link, <-chan struct{})
	Ack(ctx context.Context, p local.AckParams) error
	Fail(ctx context.Context, p local.FailParams) (local.Failed, error)
	Consumers(ctx context.Context) (local.Consumers, error)
	RemoveConsumer(ctx context.Context, name string) error

	Contacts(ctx context.Context, account string) (local.Contacts, error)
	Contact(ctx context.Context, p local.PeerParams) (local.Contact, error)
	AddContact(ctx context.Context, p local.PeerParams) (local.Contact, error)
	NickContact(ctx context.Context, p local.ContactNickParams) (local.Contact, error)
	RemoveContact(ctx context.Context, p local.PeerParams) error
	SetContact(ctx context.Context, p local.ContactSetParams) (local.Contact, error)
	Block(ctx context.Context, p local.PeerParams) (local.Contact, error)
	Unblock(ctx context.Context, p local.PeerParams) (local.Contact, error)
	Verify(ctx context.Context, p local.VerifyParams) (local.Verification, error)
	Trust(ctx context.Context, p local.TrustParams) (local.Contact, error)
	Presence(ctx context.Context, p local.PresenceParams) (local.PresenceList, error)
	Devices(ctx context.Context, account string) (local.Devices, error)

	Files
	Calls
}

// Files is the part of a Backend that transfers files. progress is nil if the caller did
// not ask for it. It is called from one goroutine at a time, and not after the method has
// returned.
type Files interface {
	// SendFiles queues, seals and uploads files and waits as p.Wait says. stream is the
	// content of the streamed source, or nil; it ends with io.EOF only if the caller has
	// sent its end. When ctx ends during the wait, messages that are not accepted yet are
	// withdrawn.
	SendFiles(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error)
	// GetFile fetches a file to a path, or to stream if it is not nil. The file counts as
	// fetched when stream.Close returns nil: its caller has read everything.
	GetFile(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error)
	ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error)
	ShowFile(ctx context.Context, p local.FileIDParams) (local.FileShown, error)
	CancelFile(ctx context.Context, p local.FileIDParams) (local.SendResult, error)
	CollectFiles(ctx context.Context, account string) (local.FileGC, error)
	FileQuota(ctx context.Context, account string) (local.FileQuota, error)
}

// Calls is the part of a Backend that makes voice and video calls. streams are the caller's
// own media streams. events is called from one goroutine at a time, and not after the
// method has returned. When ctx ends, the call is hung up.
type Calls interface {
	StartCall(ctx context.Context, p local.CallStartParams, streams call.Streams, events func(local.Event)) (local.Call, error)
	AnswerCall(ctx context.Context, p local.CallAnswerParams, streams call.Streams, events func(local.Event)) (local.Call, error)
	RejectCall(ctx context.Context, p local.CallIDParams) (local.Call, error)
	HangupCall(ctx context.Context, p local.CallIDParams) (local.Call, error)
	ListCalls(ctx context.Context, p local.CallListParams) (local.Events, error)
	CallStatus(ctx context.Context, account string) (local.Calls, error)
	MuteCall(ctx context.Context, p local.CallIDParams, on bool) (local.Call, error)
	Camera(ctx context.Context, p local.CallCameraParams) (local.Call, error)
}

// Subscription is a stream of events in the order of seq. The journal's *Subscription
// implements it.
type Subscription interface {
	Events() <-chan local.Event
	Err() error
	Close()
}
