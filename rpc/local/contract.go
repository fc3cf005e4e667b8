package local

import "reflect"

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
