package localapi

import (
	"context"
	"encoding/json"
	"reflect"

	"secmsg/rpc/local"
	"secmsg/rpc/strict"
)

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
