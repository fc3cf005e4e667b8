package local

// Methods of calls.
const (
	// MethodCallStart calls a peer and answers with the call when it has ended. It owns its
	// connection until then: on it go the changes of the call ([NotifyCall]) and the
	// caller's media that are "-" ([NotifyCallData], [NotifyCallMore], [NotifyCallEnd]). A
	// caller that leaves hangs up.
	//
	// Errors: refused: the peer declined, is busy, ended the call before it connected or blocks this account, or
	// neither side can take the media of the other; timeout: nobody answered; unreachable: no device
	// of the peer is online, or no path for the media was found; untrusted: the peer's key has changed, or
	// its policy asks for verification; not_found: no such peer, or it is no contact; rate_limited: the server limits calls to new
	// devices; no_daemon: the daemon stopped; interrupted: this side ended the call before it connected;
	// usage: a source or destination is unusable or had nothing in it, or this device has a call
	// already; io: a source or destination failed; disk_full: no space for a destination.
	MethodCallStart = "call.start"
	// MethodCallAnswer accepts a ringing call, or waits for the next one, and continues like call.start.
	//
	// Errors: as of call.start; not_found: no such call rings, or it ended or was taken elsewhere; timeout: with auto, nobody called.
	MethodCallAnswer = "call.answer"
	// MethodCallReject declines a call that rings.
	//
	// Errors: not_found: no such call; usage: several calls ring and no id was given.
	MethodCallReject = "call.reject"
	// MethodCallHangup ends a call, or declines one that rings.
	//
	// Errors: not_found: no such call; usage: there are several calls and no id was given.
	MethodCallHangup = "call.hangup"
	// MethodCallList lists calls that have ended, oldest first, as events of type
	// call. A missed call is one with direction in that never connected.
	MethodCallList = "call.list"
	// MethodCallStatus lists the calls that have not ended.
	MethodCallStatus = "call.status"
	// MethodCallMute stops sending audio.
	//
	// Errors: not_found: no such call; usage: there are several calls and no id was given.
	MethodCallMute = "call.mute"
	// MethodCallUnmute sends audio again.
	//
	// Errors: not_found: no such call; usage: there are several calls and no id was given.
	MethodCallUnmute = "call.unmute"
	// MethodCallCamera stops or resumes sending video.
	//
	// Errors: not_found: no such call; usage: there are several calls and no id was given.
	MethodCallCamera = "call.camera"
)

// Names of the notifications of calls. A connection on which call.start or
// call.answer was called carries nothing else until the answer.
const (
	// NotifyCall carries an event of type call: each change of state, and once a
	// second the statistics. These events are not part of the journal; their seq is 0.
	NotifyCall = "call.event"
	// NotifyCallData announces raw bytes of a stream, which follow the newline of
	// its line: from the caller for audio_in and video_in, to the caller for audio_out and
	// video_out.
	NotifyCallData = "call.data"
	// NotifyCallMore grants the caller that many more bytes of a stream. The daemon grants none before the
	// call is connected, except that call.start with hangup_after_play reads the
	// first frame of each stream before the peer is rung.
	NotifyCallMore = "call.more"
	// NotifyCallEnd says that a stream is complete. The daemon sends it for every
	// stream to the caller before the answer.
	NotifyCallEnd = "call.end"
)

// Streams of a call that a caller carries, named as the media that are "-".
const (
	StreamAudioIn  = "audio_in"  // audio that the caller sends
	StreamVideoIn  = "video_in"  // video that the caller sends
	StreamAudioOut = "audio_out" // audio that the caller receives
	StreamVideoOut = "video_out" // video that the caller receives
)

// MaxCallData bounds the bytes after one call.data line.
const MaxCallData = 64 << 10

// CallData announces raw bytes of a stream.
type CallData struct {
	Stream string `json:"stream"` // name of the stream
	Length int    `json:"length"` // how many bytes follow, 1 to 65536
}

// CallMore grants bytes of a stream.
type CallMore struct {
	Stream string `json:"stream"` // name of the stream
	Length int    `json:"length"` // more bytes; grants add up, and data beyond them ends the call
}

// CallEnd reports that a stream is complete.
type CallEnd struct {
	Stream string `json:"stream"` // name of the stream
}

// CallMedia says where media come from and go to. A source is "device", "test",
// "-" (a stream of the caller) or the absolute path of a file or FIFO; a
// destination is "device", "null", "-" or such a path. Empty is off; if all four
// are empty, audio goes from and to the device.
//
// A destination that is a file is written under a temporary name and gets its
// name at the end of the call; while that name is taken it gets a numbered form of it
// ("note (1).ogg"), which a call.event names. A call in which nothing came leaves no file.
type CallMedia struct {
	AudioIn string `json:"audio_in,omitempty"` // source of the audio to send
	VideoIn string `json:"video_in,omitempty"` // source of the video to send
	// AudioOut is the destination of the received audio.
	AudioOut string `json:"audio_out,omitempty"`
	// VideoOut is the destination of the received video. A Matroska or WebM
	// file also takes the audio, unless audio_out names another destination.
	VideoOut string `json:"video_out,omitempty"`
	// AudioFormat is the format of audio in streams and FIFOs: s16le, ogg or wav; without it ogg.
	AudioFormat string `json:"audio_format,omitempty"`
	// VideoFormat is the format of video in streams and FIFOs: ivf or h264.
	VideoFormat string `json:"video_format,omitempty"`
	// VideoSize is the size of video from the camera and test, such as 1280x720; without it 640x480.
	VideoSize string `json:"video_size,omitempty"`
	// HangupAfterPlay ends the call when all sources have ended; device and test never do.
	HangupAfterPlay bool `json:"hangup_after_play,omitempty"`
	// RelayOnly hides the addresses of this host from the peer: media go through a media
	// server or not at all.
	RelayOnly bool `json:"relay_only,omitempty"`
	// Play shows the received media in an installed player.
	Play bool `json:"play,omitempty"`
}

// CallStartParams are the parameters of call.start.
type CallStartParams struct {
	AccountParam
	// Peer is a contact: name, address or nickname.
	Peer string `json:"peer"`
	CallMedia
	// Ring is how long it rings, in seconds; 0: 60.
	Ring float64 `json:"ring,omitempty"`
}

// CallAnswerParams are the parameters of call.answer.
type CallAnswerParams struct {
	AccountParam
	// ID names the call; without it the only one that rings.
	ID string `json:"id,omitempty"`
	// Auto waits for the next call and takes it: of the peers in from or, without
	// from, of contacts with the policy auto-answer=yes.
	Auto bool `json:"auto,omitempty"`
	// From are the peers whose calls auto takes.
	From []string `json:"from,omitempty"`
	CallMedia
	// Timeout bounds the wait of auto, in seconds; 0: no bound.
	Timeout float64 `json:"timeout,omitempty"`
}

// CallIDParams name a call.
type CallIDParams struct {
	AccountParam
	// ID names the call; without it the only one that can be meant.
	ID string `json:"id,omitempty"`
}

// CallCameraParams are the parameters of call.camera.
type CallCameraParams struct {
	CallIDParams
	On bool `json:"on"` // whether video is sent
}

// CallListParams are the parameters of call.list.
type CallListParams struct {
	AccountParam
	Peer  string `json:"peer,omitempty"`  // only calls with this peer
	Limit int    `json:"limit,omitempty"` // the newest calls; 0: 50
}

// CallEntry is one call of call.status.
type CallEntry struct {
	Peer string `json:"peer"` // user@domain
	Call
}

// Calls answers call.status.
type Calls struct {
	Calls []CallEntry `json:"calls"` // calls that have not ended
}

// States of a call.
const (
	CallInitiating   = "initiating"   // out: no device of the peer was reached yet
	CallRinging      = "ringing"      // a device of the called side rings
	CallConnecting   = "connecting"   // taken; a path for the media is sought
	CallConnected    = "connected"    // media flow
	CallReconnecting = "reconnecting" // the path was lost and is sought again
	CallEnded        = "ended"        // final; the reason says why
)

// Reasons for which a call ends.
const (
	CallHangup            = "hangup"             // by either side, after it was taken
	CallDeclined          = "declined"           // by either side; also if the peer blocks this account or has not accepted it
	CallBusy              = "busy"               // the called device has another call
	CallNoAnswer          = "no_answer"          // nobody answered in time
	CallCancelled         = "cancelled"          // the caller gave up before anybody answered
	CallAnsweredElsewhere = "answered_elsewhere" // another own device took or declined it
	CallOffline           = "offline"            // no device of the peer is online
	CallFailed            = "failed"             // no path for the media was found, or it was lost
	CallIdentity          = "identity"           // the peer's key changed, or the media connection is somebody else's
	CallDaemonRestart     = "daemon_restart"     // the daemon stopped
)

// Call is the details of a call event, and the answer of the methods that change a call.
type Call struct {
	ID        string     `json:"id"`                 // id of the call
	State     string     `json:"state"`              // state of the call
	Direction string     `json:"direction"`          // "in" or "out"
	Reason    string     `json:"reason,omitempty"`   // why it ended
	Audio     bool       `json:"audio"`              // the caller offers audio
	Video     bool       `json:"video"`              // the caller offers video
	Duration  float64    `json:"duration,omitempty"` // how long it was connected, in seconds
	Missed    bool       `json:"missed,omitempty"`   // direction in, and this side neither took nor declined it
	Text      string     `json:"text,omitempty"`     // for the user: why it failed, or which media the peer cannot take
	Stats     *CallStats `json:"stats,omitempty"`    // statistics of the last second; at the end, of the whole call
	Changed   *bool      `json:"changed,omitempty"`  // set by methods that change a call: false if it was already as requested
}

// CallStats describes the media connection of a call, seen from this device: it
// sends out and receives in.
type CallStats struct {
	Pair        string      `json:"pair"`                // "direct" or "relayed"
	RoundTripMS float64     `json:"round_trip_ms"`       // round-trip time in milliseconds
	Target      int         `json:"target_bit_rate"`     // bits per second that congestion control allows
	AudioOut    *CallStream `json:"audio_out,omitempty"` // the audio that is sent
	VideoOut    *CallStream `json:"video_out,omitempty"` // the video that is sent
	AudioIn     *CallStream `json:"audio_in,omitempty"`  // the audio that is received
	VideoIn     *CallStream `json:"video_in,omitempty"`  // the video that is received
}

// CallStream describes one direction of audio or video.
type CallStream struct {
	Codec    string  `json:"codec"`             // name of the codec
	Frames   uint64  `json:"frames"`            // number of frames
	Packets  uint64  `json:"packets"`           // number of packets
	Bytes    uint64  `json:"bytes"`             // number of bytes
	BitRate  int     `json:"bit_rate"`          // bits per second, over the time of the statistics
	Lost     uint64  `json:"lost"`              // packets that did not come
	Loss     float64 `json:"loss"`              // share of lost packets, 0 to 1, over the time of the statistics
	JitterMS float64 `json:"jitter_ms"`         // jitter in milliseconds
	Refused  uint64  `json:"refused,omitempty"` // packets that were forged or replayed
	Dropped  uint64  `json:"dropped,omitempty"` // frames that stayed incomplete
	Muted    bool    `json:"muted,omitempty"`   // sending is stopped by call.mute or call.camera
}
