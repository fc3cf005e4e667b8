package local

import "os"

// Methods of files.
const (
	// MethodFileSend seals, uploads and sends files, and waits as
	// [FileSendParams.Wait] says. It owns its connection until the answer: on it go
	// open files ([NotifyFileOpen], [NotifyFileDescriptor]), at most one stream
	// ([NotifyFileData], [NotifyFileEnd]) and progress ([NotifyFileProgress]). A caller that
	// leaves before the answer withdraws everything that the server has not accepted, unless wait is
	// queued or the timeout has passed.
	//
	// Errors: as of message.send; usage: a source is missing, unreadable, no regular file or another file
	// than the caller means; quota: a file is larger than the server takes; io: a file or the stream
	// failed; disk_full: no space for the sealed parts; rate_limited: too many streams run.
	MethodFileSend = "file.send"
	// MethodFileGet fetches, checks and opens a file. It owns its connection until
	// the answer: on it go the content, if a stream was asked for ([NotifyFileData],
	// [NotifyFileEnd]), and progress ([NotifyFileProgress]). A file appears under its name only
	// after its last byte was checked. A caller that leaves before the answer takes the request back.
	//
	// Errors: server; not_found: no such file, or it was cancelled, declined or has expired; usage: the
	// path exists or cannot be used, the id means several files, or the sender is no contact;
	// timeout: with wait, the file did not come in time; io: the content is damaged or cannot be written; disk_full: no space at the path.
	MethodFileGet = "file.get"
	// MethodFileList lists files with their present states, oldest first, as events of type file.
	//
	// Errors: not_found: the peer is unknown.
	MethodFileList = "file.list"
	// MethodFileShow describes one file, with the thumbnail of a picture.
	//
	// Errors: not_found: no such file; usage: the id means several files.
	MethodFileShow = "file.show"
	// MethodFileCancel withdraws an own file, which the server then drops for all
	// recipients, or declines a file that came, which its sender learns.
	//
	// Errors: not_found: no such file; usage: the id means several files, or there is nothing to cancel or decline.
	MethodFileCancel = "file.cancel"
	// MethodFileGC removes leftovers of transfers from this machine, and tells the
	// server to delete own files that every recipient has fetched or declined.
	MethodFileGC = "file.gc"
	// MethodFileQuota asks the server how much of its quota the account's own files use.
	//
	// Errors: server.
	MethodFileQuota = "file.quota"
)

// Names of the notifications of transfers. A connection on which file.send or
// file.get was called carries nothing else until the answer.
const (
	// NotifyFileProgress says how far the transfer is, if its request has [FileSendParams.Progress] set.
	NotifyFileProgress = "file.progress"
	// NotifyFileOpen asks the caller of file.send to hand over the open file of a
	// source that has descriptor set. The daemon asks once for each such source, in
	// their order, before it takes anything else from the caller.
	NotifyFileOpen = "file.open"
	// NotifyFileDescriptor answers [NotifyFileOpen]. The message that carries its
	// line also carries the open file (SCM_RIGHTS).
	NotifyFileDescriptor = "file.descriptor"
	// NotifyFileData announces raw bytes, which follow the newline of its line:
	// from a caller of file.send with a stream, or to a caller of file.get with one.
	NotifyFileData = "file.data"
	// NotifyFileEnd says that a stream is complete. A stream to file.send that ends without
	// it is not sent. A caller of file.get receives it after the last data, when all data
	// was checked. The caller answers with the same line when it has stored everything;
	// only then the file counts as fetched.
	NotifyFileEnd = "file.end"
)

// MaxFileData bounds the bytes after one file.data line.
const MaxFileData = 1 << 20

// FileSource says where the content of a file comes from: a path, or the stream
// that follows the request on its connection.
//
// The daemon may see another file under the same path, or may lack the caller's
// permission to read it. So a caller opens the file itself and hands it over, or
// says at least which file it means.
type FileSource struct {
	// Path is absolute. After a restart of the daemon the file is opened again
	// there, if it is still the same one.
	Path string `json:"path,omitempty"`
	// Descriptor says that the caller has the file open and hands it over when the daemon asks ([NotifyFileOpen]).
	Descriptor bool `json:"descriptor,omitempty"`
	// Device is the device number of the file that the caller means; it counts if inode is not 0.
	Device uint64 `json:"device,omitempty"`
	// Inode is the inode of the file that the caller means. Another file under the path is refused.
	Inode uint64 `json:"inode,omitempty"`
	// Open opens the file: for the caller its own one, for the daemon the one that is
	// handed over. It does not travel.
	Open func() (*os.File, error) `json:"-"`
	// Stream says that the content follows as [NotifyFileData]. At most one source is a stream.
	Stream bool `json:"stream,omitempty"`
	// Name is the file name that the peer sees, reduced to its last element. Without it the name in path is used.
	Name string `json:"name,omitempty"`
}

// FileSendParams are the parameters of file.send.
type FileSendParams struct {
	AccountParam
	// Peers are the recipients, at least one.
	Peers []string `json:"peers"`
	// Sources are the files, at least one. Each is a message of its own, unless attach is set.
	Sources []FileSource `json:"sources"`
	// Attach makes all sources parts of one message, with text.
	Attach bool `json:"attach,omitempty"`
	// Text is the text of that message.
	Text string `json:"text,omitempty"`
	// ReplyTo is the id of the message that it answers; it needs attach.
	ReplyTo string `json:"reply_to,omitempty"`
	// Wait is the state to wait for: queued, server, delivered or read.
	// Without it the answer is sent when the server has everything.
	Wait string `json:"wait,omitempty"`
	// Timeout bounds the wait, in seconds, counted from the end of a stream if there
	// is one. The transfer continues afterwards.
	Timeout float64 `json:"timeout,omitempty"`
	// IdempotencyKey is as in message.send; the content is recipients, text, and the path, size and time of
	// change of each source. A stream cannot have one.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// Expires is the life of the messages and files, in seconds; without it the server's retention.
	Expires float64 `json:"expires,omitempty"`
	// Require is as in message.send.
	Require string `json:"require,omitempty"`
	// Once makes the server delete a file as soon as every recipient has fetched
	// it, instead of an hour later.
	Once bool `json:"once,omitempty"`
	// Progress asks for [NotifyFileProgress].
	Progress bool `json:"progress,omitempty"`
}

// Phases of a transfer.
const (
	PhaseSending  = "sending"  // sealing and uploading
	PhaseFetching = "fetching" // downloading and opening
	PhaseWaiting  = "waiting"  // for the server, or for space; the reason says which
)

// FileProgress says how far a transfer is.
type FileProgress struct {
	ID        string   `json:"id"`                 // id of the file, for its first recipient
	Name      string   `json:"name"`               // name of the file
	Phase     string   `json:"phase"`              // phase of the transfer
	Done      int64    `json:"done"`               // bytes of plaintext that are finished
	Total     *int64   `json:"total"`              // bytes of plaintext; null: not known
	Rate      float64  `json:"rate"`               // recent bytes per second
	Remaining *float64 `json:"remaining"`          // seconds; null: not known
	Reason    string   `json:"reason,omitempty"`   // in phase waiting, why
	Restarts  int      `json:"restarts,omitempty"` // how often the transfer began again, at most 3 times
	Note      string   `json:"note,omitempty"`     // why it began again the last time
}

// MaxRestarts bounds how often an upload starts again because its source changed or the server lost it.
const MaxRestarts = 3

// FileData announces raw bytes.
type FileData struct {
	Length int `json:"length"` // how many bytes follow, 1 to 1048576
}

// FileIDParams name a file.
type FileIDParams struct {
	AccountParam
	ID string `json:"id"` // id of the file, or of a message with one file
}

// NotOneFile is the error for an id that means n files instead of one.
func NotOneFile(n int, id string) *Error {
	if n == 0 {
		return Errorf(CodeNotFound, "there is no file %q", id)
	}
	return Errorf(CodeUsage, "the message has %d files; use the id of one of them", n).WithHint("secmsg file list")
}

// FileGetParams are the parameters of file.get.
type FileGetParams struct {
	AccountParam
	// ID names the file, or a message with one file.
	ID string `json:"id"`
	// Path is absolute: a file to create, or a directory that exists. Without path and stream the
	// file goes to the configured directory.
	Path string `json:"path,omitempty"`
	// Device is the device number of the directory that path is or lies in, as the caller sees it; it counts if inode is not 0.
	Device uint64 `json:"device,omitempty"`
	// Inode is the inode of that directory. The daemon refuses another directory
	// under the path. Without it the path must not be a symbolic link to a directory.
	Inode uint64 `json:"inode,omitempty"`
	// OrStream answers with [FileGot.Stream] instead of an error if the daemon sees
	// another directory under the path or may not write there. The caller then asks for a stream.
	OrStream bool `json:"or_stream,omitempty"`
	// Stream sends the content to the caller as [NotifyFileData].
	Stream bool `json:"stream,omitempty"`
	// Overwrite replaces a file that exists at path.
	Overwrite bool `json:"force,omitempty"`
	// Wait waits for a file that is not here yet: its message may still come, and
	// the server may be away.
	Wait bool `json:"wait,omitempty"`
	// Timeout bounds that wait, in seconds; 0: no bound.
	Timeout float64 `json:"timeout,omitempty"`
	// Progress asks for [NotifyFileProgress].
	Progress bool `json:"progress,omitempty"`
}

// FileGot answers file.get.
type FileGot struct {
	ID   string `json:"id"`   // id of the file
	Peer string `json:"peer"` // its sender, user@domain
	FileInfo
	// Path is where the file was saved; absent for a stream.
	Path string `json:"path,omitempty"`
	// Stream says that the daemon cannot write at the path and nothing was fetched; only after [FileGetParams.OrStream].
	Stream bool `json:"stream,omitempty"`
}

// FileListParams are the parameters of file.list.
type FileListParams struct {
	AccountParam
	Peer  string `json:"peer,omitempty"`  // only files from and to this peer
	Limit int    `json:"limit,omitempty"` // the newest files, at most 1000; 0: 1000
}

// FileShown answers file.show.
type FileShown struct {
	Event     Event  `json:"event"`               // event of type file, with the present state
	Thumbnail []byte `json:"thumbnail,omitempty"` // a small JPEG, for pictures
	Width     int    `json:"width,omitempty"`     // width of the thumbnail in pixels
	Height    int    `json:"height,omitempty"`    // height of the thumbnail in pixels
}

// FileGC answers file.gc.
type FileGC struct {
	Files      int   `json:"files"`       // number of files removed on this machine
	Bytes      int64 `json:"bytes"`       // their size
	Freed      int   `json:"freed"`       // number of own files that the server drops now
	FreedBytes int64 `json:"freed_bytes"` // their size
}

// FileQuota answers file.quota.
type FileQuota struct {
	Used     int64 `json:"used"`      // bytes, with uploads that are running
	Quota    int64 `json:"quota"`     // bytes that the account may use
	Files    int   `json:"files"`     // number of files that the server keeps
	MaxFiles int   `json:"max_files"` // greatest number of files that it keeps
	MaxSize  int64 `json:"max_size"`  // bytes of one sealed file
}

// States of a file, beside the delivery states of an own message.
const (
	FileOffered   = "offered"   // in: not fetched yet
	FileFetching  = "fetching"  // in: being fetched
	FileFetched   = "fetched"   // in: complete and checked
	FileSending   = "sending"   // out: being sealed and uploaded
	FileDeclined  = "declined"  // in: declined with file.cancel; out: the peer declined it
	FileCancelled = "cancelled" // out: withdrawn; a peer learns of it when it fetches, as failed
	FileFailed    = "failed"    // it could not be sent, or will never come; the error says why
	FileExpired   = "expired"   // the server has dropped it
)

// FileInfo describes a file before it is opened.
type FileInfo struct {
	Name string `json:"name"` // as the sender says, made safe: one path element
	Size int64  `json:"size"` // bytes of plaintext; -1: a stream whose end is not known yet
	Type string `json:"type"` // media type as the sender says; a hint only
}

// File is the details of a file event, and one of the files of a message.
type File struct {
	// ID is the argument of file.get. In file.list, and in the event of a received
	// file, it is also the id of the event.
	ID string `json:"id,omitempty"`
	FileInfo
	State     string `json:"state"`                // state of the file; for an own file otherwise the delivery state of its message
	MessageID string `json:"message_id,omitempty"` // id of the message that it is part of, unless it is a message of its own
	Path      string `json:"path,omitempty"`       // where a fetched file was saved
	Expires   Time   `json:"expires"`              // when the server deletes it
	Downloads int    `json:"downloads,omitempty"`  // own files: how often the server handed it out
	Thumbnail bool   `json:"thumbnail,omitempty"`  // file.show has a small picture
	Error     *Error `json:"error,omitempty"`      // why it failed
}
