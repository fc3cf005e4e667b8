package localapi

import (
	"context"
	"encoding/json"
	"io"
	"reflect"

	"secmsg/daemon/call"
	"secmsg/rpc/local"
	"secmsg/rpc/strict"
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
	Debug(ctx context.Context) (local.DebugState, error)
	Goroutines() (local.DebugGoroutines, error)
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

// method is one method of the table.
type method struct {
	// begin starts one request and returns the function that finishes it. Requests of a
	// connection begin in the order in which they are read, so begin does not wait;
	// the functions that it returns run concurrently.
	begin func(ctx context.Context, params json.RawMessage) func() (any, error)
	// params and result are the types that begin decodes and its function returns;
	// they are those of [local.Methods].
	params, result reflect.Type
}

// paramsError describes invalid parameters for the caller.
type paramsError struct{ text string }

func (e *paramsError) Error() string { return e.text }

// methods is the table of all methods, except daemon.hello, daemon.stop, event.subscribe,
// file.send, file.get, call.start and call.answer, which need the connection.
func methods(b Backend) map[string]method {
	account := func(f func(context.Context, string) error) method {
		return done(func(ctx context.Context, p local.AccountNameParams) error { return f(ctx, p.Name) })
	}
	return map[string]method{
		local.MethodStatusGet: returns(func(ctx context.Context, _ local.Empty) (local.Status, error) { return b.Status(ctx) }),
		local.MethodStatusCheck: returns(func(ctx context.Context, p local.AccountParam) ([]local.CheckResult, error) {
			return b.Check(ctx, p.Account)
		}),
		local.MethodDebugState: returns(func(ctx context.Context, _ local.Empty) (local.DebugState, error) { return b.Debug(ctx) }),
		local.MethodDebugGoroutines: returns(func(context.Context, local.Empty) (local.DebugGoroutines, error) {
			return b.Goroutines()
		}),

		local.MethodAccountJoin: returns(b.Join),
		local.MethodAccountList: returns(func(ctx context.Context, _ local.Empty) ([]local.Account, error) { return b.Accounts(ctx) }),
		local.MethodAccountShow: returns(func(ctx context.Context, p local.AccountNameParams) (local.Account, error) {
			return b.Account(ctx, p.Name)
		}),
		local.MethodAccountDefault: account(b.SetDefaultAccount),
		local.MethodAccountRemove:  account(b.RemoveAccount),
		local.MethodProfileLock:    done(func(ctx context.Context, _ local.Empty) error { return b.Lock(ctx) }),
		local.MethodProfileUnlock:  done(func(ctx context.Context, p local.UnlockParams) error { return b.Unlock(ctx, p.Passphrase) }),

		local.MethodMessageSend:    inOrder(b.Submit),
		local.MethodMessageInbox:   returns(b.Inbox),
		local.MethodMessageHistory: returns(b.History),
		local.MethodOutboxList: returns(func(ctx context.Context, p local.AccountParam) (local.SendResults, error) {
			return b.Outbox(ctx, p.Account)
		}),

		local.MethodOutboxRetry:  returns(b.RetryOutbox),
		local.MethodOutboxCancel: returns(b.CancelOutbox),
		local.MethodReceiptRead:  returns(b.MarkRead),

		local.MethodEventFail:      returns(b.Fail),
		local.MethodEventAck:       done(b.Ack),
		local.MethodConsumerList:   returns(func(ctx context.Context, _ local.Empty) (local.Consumers, error) { return b.Consumers(ctx) }),
		local.MethodConsumerRemove: done(func(ctx context.Context, p local.ConsumerParams) error { return b.RemoveConsumer(ctx, p.Name) }),

		local.MethodContactList: returns(func(ctx context.Context, p local.AccountParam) (local.Contacts, error) {
			return b.Contacts(ctx, p.Account)
		}),
		local.MethodContactShow:    returns(b.Contact),
		local.MethodContactAdd:     returns(b.AddContact),
		local.MethodContactNick:    returns(b.NickContact),
		local.MethodContactRemove:  done(b.RemoveContact),
		local.MethodContactSet:     returns(b.SetContact),
		local.MethodContactBlock:   returns(b.Block),
		local.MethodContactUnblock: returns(b.Unblock),

		local.MethodIdentityVerify: returns(b.Verify),
		local.MethodIdentityTrust:  returns(b.Trust),
		local.MethodPresenceList:   returns(b.Presence),
		local.MethodDeviceList: returns(func(ctx context.Context, p local.AccountParam) (local.Devices, error) {
			return b.Devices(ctx, p.Account)
		}),

		local.MethodFileList:   returns(b.ListFiles),
		local.MethodFileShow:   returns(b.ShowFile),
		local.MethodFileCancel: returns(b.CancelFile),
		local.MethodFileGC: returns(func(ctx context.Context, p local.AccountParam) (local.FileGC, error) {
			return b.CollectFiles(ctx, p.Account)
		}),
		local.MethodFileQuota: returns(func(ctx context.Context, p local.AccountParam) (local.FileQuota, error) {
			return b.FileQuota(ctx, p.Account)
		}),

		local.MethodCallReject: returns(b.RejectCall),
		local.MethodCallHangup: returns(b.HangupCall),
		local.MethodCallList:   returns(b.ListCalls),
		local.MethodCallStatus: returns(func(ctx context.Context, p local.AccountParam) (local.Calls, error) {
			return b.CallStatus(ctx, p.Account)
		}),
		local.MethodCallMute: returns(func(ctx context.Context, p local.CallIDParams) (local.Call, error) {
			return b.MuteCall(ctx, p, true)
		}),
		local.MethodCallUnmute: returns(func(ctx context.Context, p local.CallIDParams) (local.Call, error) {
			return b.MuteCall(ctx, p, false)
		}),
		local.MethodCallCamera: returns(b.Camera),
	}
}

// returns makes a method of a function with parameters and a result.
func returns[P, R any](f func(context.Context, P) (R, error)) method {
	return typed[P, R](func(ctx context.Context, raw json.RawMessage) func() (any, error) {
		return func() (any, error) {
			p, err := decode[P](raw)
			if err != nil {
				return nil, err
			}
			return f(ctx, p)
		}
	})
}

func typed[P, R any](begin func(context.Context, json.RawMessage) func() (any, error)) method {
	return method{begin, reflect.TypeFor[P](), reflect.TypeFor[R]()}
}

// inOrder makes a method of a function that must begin in the order of requests.
func inOrder[P, R any](f func(context.Context, P) func() (R, error)) method {
	return typed[P, R](func(ctx context.Context, raw json.RawMessage) func() (any, error) {
		p, err := decode[P](raw)
		if err != nil {
			return func() (any, error) { return nil, err }
		}
		wait := f(ctx, p)
		return func() (any, error) { return wait() }
	})
}

// done makes a method of a function without a result.
func done[P any](f func(context.Context, P) error) method {
	return returns(func(ctx context.Context, p P) (local.Empty, error) { return local.Empty{}, f(ctx, p) })
}

// decode decodes parameters. Unknown members are rejected: a caller that writes "expire"
// instead of "expires" must not send a message without expiry.
func decode[P any](raw json.RawMessage) (P, error) {
	var p P
	if len(raw) == 0 || string(raw) == "null" {
		return p, nil
	}
	if raw[0] != '{' {
		return p, &paramsError{"the parameters must be an object"}
	}
	if err := strict.Unmarshal(raw, &p, limits()); err != nil {
		return p, &paramsError{clip(err.Error())}
	}
	return p, nil
}
