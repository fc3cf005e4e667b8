package localapi

import (
	"context"
	"io"

	"secmsg/daemon/call"
	"secmsg/rpc/local"
)

// Backend is what the handlers call; the daemon implements it. Methods return
// *local.Error for everything a caller can act on; other errors are logged
// whole and leave as "internal". An account parameter that is empty means the
// only or the default account.
type Backend interface {
	// Hello introduces the daemon. It waits for nothing.
	Hello() local.Hello
	// CheckIdle returns an error of code refused if a restart of the daemon would
	// end something that does not go on by itself.
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

	// Submit hands a message over. Messages are queued in the order of the calls;
	// it waits for nothing that takes longer than a write to the disk. The
	// function that it returns is called once and waits as p.Wait says.
	Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error)
	Inbox(ctx context.Context, p local.InboxParams) (local.Events, error)
	History(ctx context.Context, p local.HistoryParams) (local.Events, error)
	Outbox(ctx context.Context, account string) (local.SendResults, error)
	RetryOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error)
	CancelOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error)
	MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error)

	// Subscribe starts a subscription. The caller reads Events until it is
	// closed, then Err tells why; Close ends it and is always called.
	Subscribe(ctx context.Context, p local.SubscribeParams) (local.Subscribed, Subscription, error)
	// Links tells how the accounts are connected, as far as that is known; the
	// channel is closed when it changes.
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

// Files is the part of a Backend that moves files. progress is called from one
// goroutine at a time and not after the return; it is nil if nobody asked.
type Files interface {
	// SendFiles queues, seals and uploads files and waits as p.Wait says. stream is
	// the content of the source that is one, else nil; it ends with io.EOF only if
	// its caller said so. When ctx ends before the wait is over, what is not
	// accepted yet is withdrawn.
	SendFiles(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error)
	// GetFile fetches a file to a path, or to stream if it is not nil. The file
	// counts as fetched when stream is closed without error behind the last byte:
	// its caller has taken all.
	GetFile(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error)
	ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error)
	ShowFile(ctx context.Context, p local.FileIDParams) (local.FileShown, error)
	CancelFile(ctx context.Context, p local.FileIDParams) (local.SendResult, error)
	CollectFiles(ctx context.Context, account string) (local.FileGC, error)
	FileQuota(ctx context.Context, account string) (local.FileQuota, error)
}

// Calls is the part of a Backend that makes calls. streams are the caller's own
// ends of media; events is called from one goroutine at a time and not after the
// return. When ctx ends the call is hung up.
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

// Subscription is a stream of events in the order of seq. The journal's
// *Subscription implements it.
type Subscription interface {
	Events() <-chan local.Event
	Err() error
	Close()
}
