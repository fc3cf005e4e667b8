package local

// Methods of calls.
const (
	// MethodCallStart calls a peer, and MethodCallAnswer takes a call. Both own
	// their connection until the call has ended: meanwhile they push NotifyCall
	// and carry the caller's streams as NotifyCallData. They answer with the Call
	// that has ended, or with an error if it never connected: refused (declined,
	// busy, ended by the peer too early), timeout (nobody answered, or the wait is over), unreachable (nobody
	// is online, or no way leads there), untrusted (the peer's key has changed),
	// not_found (no such call, or peer), rate_limited (the server limits it),
	// no_daemon (this daemon stopped), interrupted (this side ended it too early).
	// A call that was connected and ended by either side is an error, too, if a source
	// failed or had nothing in it, or a destination failed: usage (the input is at
	// fault), io, disk_full. refused also says that neither side takes what the other
	// sends.
	MethodCallStart  = "call.start"
	MethodCallAnswer = "call.answer"
	MethodCallReject = "call.reject" // CallIDParams; answers with the Call
	MethodCallHangup = "call.hangup" // CallIDParams; answers with the Call
	MethodCallList   = "call.list"   // CallListParams; answers with Events, oldest first
	MethodCallStatus = "call.status" // AccountParam; answers with Calls, those that have not ended
	MethodCallMute   = "call.mute"   // CallIDParams: what is heard here is not sent
	MethodCallUnmute = "call.unmute" // CallIDParams
	MethodCallCamera = "call.camera" // CallCameraParams

	// NotifyCall carries an Event of type call to the caller of call.start or
	// call.answer: each change of state, and each second the Stats. Its Seq is 0.
	NotifyCall = "call.event"
	// NotifyCallData carries a CallData and, behind its line, that many raw bytes:
	// from the caller for audio_in and video_in, to it for audio_out and video_out.
	NotifyCallData = "call.data"
	// NotifyCallMore carries a CallMore: the daemon takes so many more bytes of a
	// stream. Before the call is connected it takes none, except that a call.start
	// with HangupAfterPlay reads the first frame of each stream before the peer is
	// rung.
	NotifyCallMore = "call.more"
	// NotifyCallEnd carries a CallEnd: a stream is complete. From the daemon it
	// comes for every stream that was asked for, before the answer.
	NotifyCallEnd = "call.end"
)

// A caller that leaves (its connection ends) hangs up.

// Streams of a call that a caller carries.
const (
	StreamAudioIn  = "audio_in"
	StreamVideoIn  = "video_in"
	StreamAudioOut = "audio_out"
	StreamVideoOut = "video_out"
)

// MaxCallData bounds the bytes behind one call.data line.
const MaxCallData = 64 << 10

// CallData announces raw bytes of a stream behind its line.
type CallData struct {
	Stream string `json:"stream"`
	Length int    `json:"length"` // 1 to MaxCallData
}

// CallMore grants bytes of a stream; grants add up. What was not granted is refused.
type CallMore struct {
	Stream string `json:"stream"`
	Length int    `json:"length"`
}

// CallEnd says that a stream is complete.
type CallEnd struct {
	Stream string `json:"stream"`
}

// CallMedia say where media come from and go to. A source is "device", "test",
// "-" (the caller's stream) or an absolute path of a file or FIFO; a destination
// "device", "null", "-" or such a path. Empty is off; if all four are empty,
// sound goes from and to the device. A Matroska or WebM file named as video_out
// takes the sound, too, unless audio_out is another one.
//
// A file as destination is written under a temporary name from the first frame on,
// and gets its name at the end of the call; while that is taken it gets a numbered
// form of it ("note (1).ogg"), which a call.event tells. A call that brings nothing
// leaves no file.
type CallMedia struct {
	AudioIn  string `json:"audio_in,omitempty"`
	VideoIn  string `json:"video_in,omitempty"`
	AudioOut string `json:"audio_out,omitempty"`
	VideoOut string `json:"video_out,omitempty"`
	// AudioFormat is that of streams and FIFOs of sound: s16le, ogg or wav; empty: ogg.
	AudioFormat string `json:"audio_format,omitempty"`
	// VideoFormat is that of streams and FIFOs of pictures: ivf or h264.
	VideoFormat string `json:"video_format,omitempty"`
	// VideoSize is that of pictures of the camera and of test, as 1280x720; empty: 640x480.
	VideoSize string `json:"video_size,omitempty"`
	// HangupAfterPlay ends the call when all sources have ended, but for device and
	// test, which never do.
	HangupAfterPlay bool `json:"hangup_after_play,omitempty"`
	// RelayOnly tells the peer no address of this host: media go through a media
	// server or not at all.
	RelayOnly bool `json:"relay_only,omitempty"`
	// Play shows what comes in an installed player.
	Play bool `json:"play,omitempty"`
}

// CallStartParams are the parameters of call.start.
type CallStartParams struct {
	AccountParam
	Peer string `json:"peer"`
	CallMedia
	Ring float64 `json:"ring,omitempty"` // seconds; 0: 60
}

// CallAnswerParams are the parameters of call.answer: the call of this id, or
// the only one that rings; not_found if there is none, unless Auto is set.
type CallAnswerParams struct {
	AccountParam
	ID string `json:"id,omitempty"`
	// Auto waits for the next call and takes it: of those in From, or, if that is
	// empty, of contacts with the policy auto-answer=yes, whose calls the daemon
	// takes with microphone and loudspeaker if nobody waits.
	Auto bool     `json:"auto,omitempty"`
	From []string `json:"from,omitempty"`
	CallMedia
	// Timeout in seconds bounds the wait of Auto; 0: none.
	Timeout float64 `json:"timeout,omitempty"`
}

// CallIDParams name a call; an empty id means the only one that it can be.
type CallIDParams struct {
	AccountParam
	ID string `json:"id,omitempty"`
}

// CallCameraParams are the parameters of call.camera.
type CallCameraParams struct {
	CallIDParams
	On bool `json:"on"`
}

// CallListParams are the parameters of call.list: calls that have ended, oldest
// first; a missed one is a call with direction in that never connected.
type CallListParams struct {
	AccountParam
	Peer  string `json:"peer,omitempty"`
	Limit int    `json:"limit,omitempty"` // 0: 50
}

// CallEntry is one line of call.status.
type CallEntry struct {
	Peer string `json:"peer"`
	Call
}

// Calls answers call.status.
type Calls struct {
	Calls []CallEntry `json:"calls"`
}

// States of a call.
const (
	CallInitiating   = "initiating" // out: no device of the peer has been reached
	CallRinging      = "ringing"
	CallConnecting   = "connecting"
	CallConnected    = "connected"
	CallReconnecting = "reconnecting"
	CallEnded        = "ended"
)

// Reasons for which a call ends.
const (
	CallHangup            = "hangup"             // by either side, once it was taken
	CallDeclined          = "declined"           // the peer said no (also: has not accepted or blocks this side), or this side did
	CallBusy              = "busy"               // the device called has another call
	CallNoAnswer          = "no_answer"          // nobody took it in time
	CallCancelled         = "cancelled"          // the caller gave up before anybody took it
	CallAnsweredElsewhere = "answered_elsewhere" // another own device took it, or declined it
	CallOffline           = "offline"            // no device of the peer is online
	CallFailed            = "failed"             // no way for the media, or the way was lost
	CallIdentity          = "identity"           // the peer's key changed, or the media connection is another's
	CallDaemonRestart     = "daemon_restart"     // this daemon stopped
)

// Call is the body of a call event.
type Call struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Direction string `json:"direction"`
	// Reason is set when it has ended.
	Reason string `json:"reason,omitempty"`
	// Audio and Video say what the caller offers.
	Audio bool `json:"audio"`
	Video bool `json:"video"`
	// Duration is how long it was connected, in seconds.
	Duration float64 `json:"duration,omitempty"`
	// Missed marks a call with direction in that this side neither took nor declined.
	Missed bool `json:"missed,omitempty"`
	// Text tells something that the user should know, as a codec that the peer
	// does not take, or why a call failed.
	Text string `json:"text,omitempty"`
	// Stats are of the last second, and at the end of the whole call.
	Stats *CallStats `json:"stats,omitempty"`
	// Changed is set by the verbs that change a call: false if what was asked for
	// held already.
	Changed *bool `json:"changed,omitempty"`
}

// CallStats tell how a call goes.
type CallStats struct {
	Pair        string      `json:"pair"` // direct or relayed
	RoundTripMS float64     `json:"round_trip_ms"`
	Target      int         `json:"target_bit_rate"` // what congestion control allows; bit/s
	AudioOut    *CallStream `json:"audio_out,omitempty"`
	VideoOut    *CallStream `json:"video_out,omitempty"`
	AudioIn     *CallStream `json:"audio_in,omitempty"`
	VideoIn     *CallStream `json:"video_in,omitempty"`
}

// CallStream is one direction of sound or pictures.
type CallStream struct {
	Codec   string `json:"codec"`
	Frames  uint64 `json:"frames"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// BitRate is of the last second, at the end of the whole call; bit/s.
	BitRate  int     `json:"bit_rate"`
	Lost     uint64  `json:"lost"` // packets
	Loss     float64 `json:"loss"` // share of the packets, as BitRate; 0 to 1
	JitterMS float64 `json:"jitter_ms"`
	// Refused counts packets that were forged or replayed; Dropped frames that
	// were incomplete.
	Refused uint64 `json:"refused,omitempty"`
	Dropped uint64 `json:"dropped,omitempty"`
	Muted   bool   `json:"muted,omitempty"`
}
