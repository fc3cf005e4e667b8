package local

import "reflect"

// Names of the methods, noun.verb. Each comment is the description of the method
// in LOCAL.md: its last paragraph lists the errors that are the method's own, as
// "code: when", separated by semicolons; "server" stands for the errors of a
// question to the server. The types of parameters and results stand in [Methods].
const (
	// MethodDaemonHello introduces the caller to the daemon and the daemon to the
	// caller. It touches neither the disk nor the network, so a daemon that does
	// not answer it hangs. It is optional, and may be repeated.
	MethodDaemonHello = "daemon.hello"
	// MethodDaemonStop ends the daemon. The answer is sent before the end; the process
	// has ended when the lock of its profile is free.
	//
	// Errors: refused: with if_idle, the daemon is busy.
	MethodDaemonStop = "daemon.stop"
	// MethodStatusGet describes the daemon and its accounts. It also works on a
	// locked profile, which shows no accounts.
	MethodStatusGet = "status.get"
	// MethodStatusCheck sends a probe, sealed to this device's own key, through the
	// server and back, for the account that is named or else for all of them. A
	// check that fails is not an error of the call: its result has the error.
	MethodStatusCheck = "status.check"
	// MethodDebugState tells what the daemon is waiting for: tasks, pauses, queues to
	// devices, and counts of envelopes that it did not show. It is for people; its
	// members may change with any version.
	MethodDebugState = "debug.state"
	// MethodDebugGoroutines lists the stacks of the daemon's goroutines, for a report
	// about a daemon that hangs. It holds names of functions and files, no data.
	MethodDebugGoroutines = "debug.goroutines"

	// MethodAccountJoin makes keys and registers an account with an invite. A join
	// that was interrupted is continued by the same invite and name. On a new
	// profile it also creates the profile, protected if a passphrase is given.
	//
	// Errors: server; usage: the invite has no valid form, the name is taken or not allowed, or the
	// profile already has this account; refused: the invite is unknown, used up, expired or revoked.
	MethodAccountJoin = "account.join"
	// MethodAccountList lists the accounts of this profile.
	MethodAccountList = "account.list"
	// MethodAccountShow describes one account of this profile; an empty name means
	// the only or the default one.
	MethodAccountShow = "account.show"
	// MethodAccountDefault makes an account the default one.
	MethodAccountDefault = "account.default"
	// MethodAccountRemove deletes an account with its keys, contacts and messages
	// from this profile. The account at the server remains; only an administrator
	// deletes that.
	MethodAccountRemove = "account.remove"
	// MethodProfileLock locks a protected profile: the daemon erases keys
	// from its memory and ends its connections. Sending is still possible, into the outbox.
	//
	// Errors: usage: the profile has no passphrase.
	MethodProfileLock = "profile.lock"
	// MethodProfileUnlock unlocks the profile and connects its accounts.
	//
	// Errors: locked: the passphrase is wrong; usage: the profile has no passphrase.
	MethodProfileUnlock = "profile.unlock"

	// MethodMessageSend queues a text, one message for each recipient, and waits as
	// [SendParams.Wait] says. Requests of one connection are queued in the order in
	// which they are written. Once queued, a message survives every crash; the
	// outcome for one recipient is in that recipient's result, not in an error of the
	// call.
	//
	// Errors: usage: no recipient, a text that is empty, too long or not UTF-8, or an idempotency
	// key used for other content; not_found: the message of reply_to does not exist, or a recipient
	// is in another realm; untrusted: with require, a recipient is not verified and nothing was queued.
	MethodMessageSend = "message.send"
	// MethodMessageInbox returns unread messages, oldest first, and marks them as
	// read, which sends read receipts, unless [InboxParams.Peek] is set. It waits up
	// to five seconds for mail that is still at the server.
	//
	// Errors: not_found: a peer in from is unknown.
	MethodMessageInbox = "message.inbox"
	// MethodMessageHistory returns the last messages with a peer, oldest first. It
	// marks nothing as read.
	//
	// Errors: not_found: there are no messages with the peer; usage: a time or a limit is malformed.
	MethodMessageHistory = "message.history"
	// MethodOutboxList lists the own messages that the server has not accepted yet,
	// oldest first.
	MethodOutboxList = "outbox.list"
	// MethodOutboxRetry sends a waiting message now instead of at its next attempt.
	// A text that failed or expired is sent again as a new message, once: the
	// result names the new message, also when it is asked for again.
	//
	// Errors: not_found: no own message has the id; usage: the message was accepted, or it has files.
	MethodOutboxRetry = "outbox.retry"
	// MethodOutboxCancel withdraws a message that has not left this machine.
	//
	// Errors: not_found: no own message has the id; usage: the message may have left this machine.
	MethodOutboxCancel = "outbox.cancel"
	// MethodReceiptRead marks messages of a peer as read and sends the read
	// receipts, unless the policy of the contact switches them off.
	//
	// Errors: not_found: the peer has sent no such message.
	MethodReceiptRead = "receipt.read"

	// MethodEventSubscribe starts pushing events on this connection, after the
	// answer, as [NotifyEvent]. A connection has at most one subscription; it ends with
	// the connection or with [NotifyEnd].
	//
	// Errors: usage: the connection already has a subscription, a type is unknown, or since was given
	// for a consumer that exists; not_found: no peer of from, or no event of since, exists; quota: there are too many consumers.
	MethodEventSubscribe = "event.subscribe"
	// MethodEventAck moves the cursor of a consumer. It is cumulative: the event
	// and all earlier ones count as handled. The cursor never goes back.
	//
	// Errors: not_found: no such consumer or event.
	MethodEventAck = "event.ack"
	// MethodEventFail records, durably, that the handler of a consumer failed on an
	// event. After too many attempts, or too long a time, the event becomes a dead letter and
	// the cursor passes it.
	//
	// Errors: not_found: no such consumer or event; usage: the event is already acknowledged, or an earlier one is not.
	MethodEventFail = "event.fail"
	// MethodConsumerList lists the consumers with their cursors and dead letters.
	MethodConsumerList = "consumer.list"
	// MethodConsumerRemove deletes a consumer and its cursor, and ends its subscription.
	//
	// Errors: not_found: no such consumer.
	MethodConsumerRemove = "consumer.remove"

	// MethodContactList lists contacts, blocked peers, strangers who wrote first, and
	// peers with a nickname or a changed key.
	MethodContactList = "contact.list"
	// MethodContactShow describes one peer.
	//
	// Errors: not_found: the peer is unknown.
	MethodContactShow = "contact.show"
	// MethodContactAdd puts a peer on the contact list, which accepts its request
	// if there is one. Without a connection the peer is looked up later.
	//
	// Errors: server; not_found: the server knows no such account; refused: the peer is blocked.
	MethodContactAdd = "contact.add"
	// MethodContactNick gives a peer a local nickname, by which every method takes
	// it from then on.
	//
	// Errors: not_found: the peer is unknown; usage: the nickname is malformed or in use.
	MethodContactNick = "contact.nick"
	// MethodContactRemove takes a peer off the contact list, with its nickname and
	// policies. Its pinned key and the messages stay; a call with it ends.
	//
	// Errors: not_found: the peer is unknown.
	MethodContactRemove = "contact.remove"
	// MethodContactSet sets one policy of a peer: trust (certified or verified),
	// auto-accept (a size), auto-answer (yes or no), receipts (on or off) or
	// retention (a duration such as 30d).
	//
	// Errors: not_found: the peer is unknown; usage: the policy or its value is unknown.
	MethodContactSet = "contact.set"
	// MethodContactBlock refuses everything from a peer from now on. A call with it ends.
	//
	// Errors: not_found: the server knows no such account.
	MethodContactBlock = "contact.block"
	// MethodContactUnblock takes a block back: the peer is a contact or a stranger again, as before.
	//
	// Errors: not_found: the peer is unknown.
	MethodContactUnblock = "contact.unblock"

	// MethodIdentityVerify returns the safety number of a peer's pinned key, and
	// marks the peer as verified if expect matches or confirm is set. A number that
	// differs changes nothing and leaves an identity event.
	//
	// Errors: server; not_found: the peer does not exist; untrusted: the safety number differs; usage: expect is malformed.
	MethodIdentityVerify = "identity.verify"
	// MethodIdentityTrust decides about the changed key of a peer: accept the key
	// of a fingerprint, which sends and shows the held messages, or discard those.
	//
	// Errors: not_found: the peer is unknown; untrusted: the peer has no key with this fingerprint.
	MethodIdentityTrust = "identity.trust"
	// MethodPresenceList says which peers are online. Only a mutual contact lets
	// this account know.
	//
	// Errors: not_found: a peer is unknown.
	MethodPresenceList = "presence.list"
	// MethodDeviceList lists the devices of an own account.
	MethodDeviceList = "device.list"
)

// Names of the notifications on a connection that subscribed.
const (
	// NotifyEvent carries one event, in the order of seq.
	NotifyEvent = "event"
	// NotifyLink says that the connection to a server was lost or is back, if
	// [SubscribeParams.Links] requested it. It is sent in order with the events.
	NotifyLink = "event.link"
	// NotifyEnd ends the subscription and says why: no_daemon if the daemon was
	// stopped on purpose, usage if another connection subscribed as the same
	// consumer, not_found if the consumer was removed. A connection that breaks
	// without it means that the daemon crashed or was killed.
	NotifyEnd = "event.end"
)

// Empty is an object without members.
type Empty struct{}

// AccountParam names the account; empty means the only or the default one. Most parameters include it.
type AccountParam struct {
	// Account is the name or address of an own account; without it the only or the default one.
	Account string `json:"account,omitempty"`
}

// PeerParams name a peer of an account.
type PeerParams struct {
	AccountParam
	// Peer is a name (alice), an address (alice@domain) or a nickname.
	Peer string `json:"peer"`
}

// Method is the signature of one method.
type Method struct {
	Name           string
	Params, Result reflect.Type
}

// Methods returns the signatures of all methods, in the order of their constants. A
// test holds the daemon's handlers to them, and LOCAL.md is made from them.
func Methods() []Method {
	return []Method{
		signature[HelloParams, Hello](MethodDaemonHello),
		signature[StopParams, Empty](MethodDaemonStop),
		signature[Empty, Status](MethodStatusGet),
		signature[AccountParam, []CheckResult](MethodStatusCheck),
		signature[Empty, DebugState](MethodDebugState),
		signature[Empty, DebugGoroutines](MethodDebugGoroutines),
		signature[JoinParams, Account](MethodAccountJoin),
		signature[Empty, []Account](MethodAccountList),
		signature[AccountNameParams, Account](MethodAccountShow),
		signature[AccountNameParams, Empty](MethodAccountDefault),
		signature[AccountNameParams, Empty](MethodAccountRemove),
		signature[Empty, Empty](MethodProfileLock),
		signature[UnlockParams, Empty](MethodProfileUnlock),
		signature[SendParams, SendResults](MethodMessageSend),
		signature[InboxParams, Events](MethodMessageInbox),
		signature[HistoryParams, Events](MethodMessageHistory),
		signature[AccountParam, SendResults](MethodOutboxList),
		signature[OutboxParams, SendResult](MethodOutboxRetry),
		signature[OutboxParams, SendResult](MethodOutboxCancel),
		signature[ReadParams, ReadResult](MethodReceiptRead),
		signature[SubscribeParams, Subscribed](MethodEventSubscribe),
		signature[AckParams, Empty](MethodEventAck),
		signature[FailParams, Failed](MethodEventFail),
		signature[Empty, Consumers](MethodConsumerList),
		signature[ConsumerParams, Empty](MethodConsumerRemove),
		signature[AccountParam, Contacts](MethodContactList),
		signature[PeerParams, Contact](MethodContactShow),
		signature[PeerParams, Contact](MethodContactAdd),
		signature[ContactNickParams, Contact](MethodContactNick),
		signature[PeerParams, Empty](MethodContactRemove),
		signature[ContactSetParams, Contact](MethodContactSet),
		signature[PeerParams, Contact](MethodContactBlock),
		signature[PeerParams, Contact](MethodContactUnblock),
		signature[VerifyParams, Verification](MethodIdentityVerify),
		signature[TrustParams, Contact](MethodIdentityTrust),
		signature[PresenceParams, PresenceList](MethodPresenceList),
		signature[AccountParam, Devices](MethodDeviceList),
		signature[FileSendParams, SendResults](MethodFileSend),
		signature[FileGetParams, FileGot](MethodFileGet),
		signature[FileListParams, Events](MethodFileList),
		signature[FileIDParams, FileShown](MethodFileShow),
		signature[FileIDParams, SendResult](MethodFileCancel),
		signature[AccountParam, FileGC](MethodFileGC),
		signature[AccountParam, FileQuota](MethodFileQuota),
		signature[CallStartParams, Call](MethodCallStart),
		signature[CallAnswerParams, Call](MethodCallAnswer),
		signature[CallIDParams, Call](MethodCallReject),
		signature[CallIDParams, Call](MethodCallHangup),
		signature[CallListParams, Events](MethodCallList),
		signature[AccountParam, Calls](MethodCallStatus),
		signature[CallIDParams, Call](MethodCallMute),
		signature[CallIDParams, Call](MethodCallUnmute),
		signature[CallCameraParams, Call](MethodCallCamera),
	}
}

func signature[P, R any](name string) Method {
	return Method{name, reflect.TypeFor[P](), reflect.TypeFor[R]()}
}

// Notification is the signature of one notification.
type Notification struct {
	Name   string
	Params reflect.Type
	// FromDaemon and FromCaller say who sends it; some travel both ways.
	FromDaemon, FromCaller bool
}

// Notifications returns the signatures of all notifications, in the order of their constants.
func Notifications() []Notification {
	return []Notification{
		{NotifyEvent, reflect.TypeFor[Event](), true, false},
		{NotifyLink, reflect.TypeFor[Link](), true, false},
		{NotifyEnd, reflect.TypeFor[Error](), true, false},
		{NotifyFileProgress, reflect.TypeFor[FileProgress](), true, false},
		{NotifyFileOpen, reflect.TypeFor[FileOpen](), true, false},
		{NotifyFileDescriptor, reflect.TypeFor[FileOpen](), false, true},
		{NotifyFileData, reflect.TypeFor[FileData](), true, true},
		{NotifyFileEnd, reflect.TypeFor[Empty](), true, true},
		{NotifyCall, reflect.TypeFor[Event](), true, false},
		{NotifyCallData, reflect.TypeFor[CallData](), true, true},
		{NotifyCallMore, reflect.TypeFor[CallMore](), true, false},
		{NotifyCallEnd, reflect.TypeFor[CallEnd](), true, true},
	}
}
