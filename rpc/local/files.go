package local

import "os"

// Methods of files.
const (
	// MethodFileSend seals, uploads and sends files; it answers with SendResults
	// when the wait that was asked for is over, and pushes NotifyFileProgress
	// before, if Progress is set.
	MethodFileSend = "file.send"
	// MethodFileGet fetches and opens a file; it answers with a FileGot and
	// pushes NotifyFileProgress before, if Progress is set.
	MethodFileGet    = "file.get"
	MethodFileList   = "file.list"
	MethodFileShow   = "file.show"
	MethodFileCancel = "file.cancel"
	MethodFileGC     = "file.gc"
	// MethodFileQuota asks the server what the account's files take there.
	MethodFileQuota = "file.quota"

	// NotifyFileProgress carries a FileProgress to the caller of file.send or file.get.
	NotifyFileProgress = "file.progress"
	// NotifyFileOpen asks the caller of file.send for a source that it has open
	// (FileOpen): once for each such source, in their order, before anything else
	// is taken from it.
	NotifyFileOpen = "file.open"
	// NotifyFileDescriptor answers NotifyFileOpen (FileOpen): its line carries the
	// open file as SCM_RIGHTS.
	NotifyFileDescriptor = "file.descriptor"
	// NotifyFileData carries a FileData and, behind its line, that many raw
	// bytes: from a caller of file.send with a stream, and to a caller of
	// file.get with one.
	NotifyFileData = "file.data"
	// NotifyFileEnd says that a stream is complete. A caller's stream that ends
	// without it is not sent. To a caller of file.get it comes behind the last
	// data, once all of it is verified; the caller answers with the same line when
	// it has taken all, and the file counts as fetched.
	NotifyFileEnd = "file.end"
)

// A connection on which file.send or file.get was called carries nothing else
// until the answer. A caller that leaves before it (the connection ends) takes
// file.get back, and file.send too unless Wait is queued; once Timeout has
// passed there is nothing to take back.

// MaxFileData bounds the bytes behind one file.data line.
const MaxFileData = 1 << 20

// FileSource is where the content of a file comes from: a path, or the stream
// that follows the request on its connection, of which there is at most one.
//
// What the caller may read is what is sent: the daemon may see another file under
// the same path, or may not read what the caller may. So the caller opens the
// file and hands it over, or says at least which one it means.
type FileSource struct {
	// Path is absolute. It names the file, and after a restart of the daemon it is
	// where the file is opened again, if it is the same one.
	Path string `json:"path,omitempty"`
	// Descriptor: the caller has the file open and hands it over when it is asked
	// with file.open.
	Descriptor bool `json:"descriptor,omitempty"`
	// Device and Inode, if Inode is not 0, are those of the file that the caller
	// means; another one under Path is refused.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// Open opens the file: at the caller its own one, in the daemon the one that is
	// handed over. It does not travel.
	Open func() (*os.File, error) `json:"-"`
	// Stream: the content follows as file.data.
	Stream bool `json:"stream,omitempty"`
	// Name is what the peer sees, reduced to its last element; default: that of Path.
	Name string `json:"name,omitempty"`
}

// FileSendParams are the parameters of file.send. Each source is a message of
// its own, unless Attach makes all of them part of one message with Text.
type FileSendParams struct {
	AccountParam
	Peers   []string     `json:"peers"`
	Sources []FileSource `json:"sources"`
	Attach  bool         `json:"attach,omitempty"`
	Text    string       `json:"text,omitempty"` // with attach
	ReplyTo string       `json:"reply_to,omitempty"`
	Wait    string       `json:"wait,omitempty"` // queued, server, delivered, read; empty: until the server has it
	// Timeout is in seconds; 0: none. After it the transfer goes on. It runs from
	// the end of a stream, if there is one.
	Timeout float64 `json:"timeout,omitempty"`
	// IdempotencyKey stands for recipients, text, and path, size and time of
	// change of each source; a stream has none.
	IdempotencyKey string  `json:"idempotency_key,omitempty"`
	Expires        float64 `json:"expires,omitempty"` // seconds; 0: the server's retention
	Require        string  `json:"require,omitempty"` // verified
	// Once: the server deletes a file as soon as every recipient has fetched it,
	// and not an hour later.
	Once     bool `json:"once,omitempty"`
	Progress bool `json:"progress,omitempty"`
}

// Phases of a transfer, in FileProgress.
const (
	PhaseSending  = "sending"
	PhaseFetching = "fetching"
	PhaseWaiting  = "waiting" // for the server
)

// FileProgress tells how far a transfer is.
type FileProgress struct {
	ID    string `json:"id"` // of the file, for its first recipient
	Name  string `json:"name"`
	Phase string `json:"phase"`
	Done  int64  `json:"done"`  // bytes of plaintext that are through
	Total *int64 `json:"total"` // null: not known
	// Rate is in bytes a second, of late.
	Rate float64 `json:"rate"`
	// Remaining is in seconds; null: not known.
	Remaining *float64 `json:"remaining"`
	// Reason says why it waits, in phase waiting.
	Reason string `json:"reason,omitempty"`
	// Restarts is how often the transfer had to begin again, at most MaxRestarts
	// times, and Note says why it did so the last time.
	Restarts int    `json:"restarts,omitempty"`
	Note     string `json:"note,omitempty"`
}

// MaxRestarts bounds how often an upload begins again because its source changed
// or the server lost it.
const MaxRestarts = 3

// FileData announces raw bytes behind its line.
type FileData struct {
	Length int `json:"length"` // 1 to MaxFileData
}

// FileIDParams name a file: the id of its message, or of the file in a message.
type FileIDParams struct {
	AccountParam
	ID string `json:"id"`
}

// NotOneFile is what a caller is told whose id means n files, but not one.
func NotOneFile(n int, id string) *Error {
	if n == 0 {
		return Errorf(CodeNotFound, "there is no file %q", id)
	}
	return Errorf(CodeUsage, "the message has %d files; name one", n).WithHint("secmsg file list")
}

// FileGetParams are the parameters of file.get.
type FileGetParams struct {
	AccountParam
	ID string `json:"id"`
	// Path is absolute: a file, or a directory that exists. Empty: the
	// configured directory, unless Stream is set.
	Path string `json:"path,omitempty"`
	// Device and Inode, if Inode is not 0, are those of the directory that Path is
	// or lies in, as the caller sees it: the daemon may see another one there.
	// Without them Path must not be a symbolic link to a directory.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// OrStream: if the daemon sees another directory, or may not write in it, it
	// does not fail but answers with FileGot.Stream, and the caller asks again for
	// a stream.
	OrStream bool `json:"or_stream,omitempty"`
	// Stream: the content comes as file.data.
	Stream bool `json:"stream,omitempty"`
	// Overwrite replaces a file that stands at Path.
	Overwrite bool `json:"force,omitempty"`
	// Wait waits for a file that is not here yet: its message may still come,
	// and the server may be away.
	Wait bool `json:"wait,omitempty"`
	// Timeout in seconds bounds Wait; 0: none.
	Timeout  float64 `json:"timeout,omitempty"`
	Progress bool    `json:"progress,omitempty"`
}

// FileGot answers file.get.
type FileGot struct {
	ID   string `json:"id"`
	Peer string `json:"peer"`
	FileInfo
	// Path is where the file was saved; empty for a stream.
	Path string `json:"path,omitempty"`
	// Stream: the daemon cannot write at Path, and nothing was fetched (OrStream).
	Stream bool `json:"stream,omitempty"`
}

// FileListParams are the parameters of file.list, which answers with Events of
// type file, oldest first, each with the file's present state.
type FileListParams struct {
	AccountParam
	Peer  string `json:"peer,omitempty"`
	Limit int    `json:"limit,omitempty"` // 0: all that are kept, at most 1000
}

// FileShown answers file.show.
type FileShown struct {
	Event Event `json:"event"`
	// Thumbnail is a small JPEG, for pictures only.
	Thumbnail []byte `json:"thumbnail,omitempty"`
	Width     int    `json:"width,omitempty"` // of the thumbnail, in pixels
	Height    int    `json:"height,omitempty"`
}

// FileGC answers file.gc: what was removed here, and which own files the server
// deletes now since every recipient has fetched or declined them.
type FileGC struct {
	Files      int   `json:"files"`
	Bytes      int64 `json:"bytes"`
	Freed      int   `json:"freed"`
	FreedBytes int64 `json:"freed_bytes"`
}

// FileQuota answers file.quota: what the account's own files take at the server.
type FileQuota struct {
	Used     int64 `json:"used"`      // bytes, those of uploads that run included
	Quota    int64 `json:"quota"`     // bytes that all of them may take
	Files    int   `json:"files"`     // that the server keeps
	MaxFiles int   `json:"max_files"` // that it may keep
	MaxSize  int64 `json:"max_size"`  // bytes of one file, sealed
}

// States of a file, besides those of an own message.
const (
	FileOffered   = "offered"   // in: not fetched
	FileFetching  = "fetching"  // in: being fetched
	FileFetched   = "fetched"   // in: whole and verified
	FileSending   = "sending"   // out: being sealed and uploaded
	FileDeclined  = "declined"  // in: refused with file.cancel; out: its peer has refused it
	FileCancelled = "cancelled" // out: withdrawn; its peers learn of it when they fetch, as failed
	FileFailed    = "failed"    // will not come any more, or could not be sent; Error tells why
	FileExpired   = "expired"   // the server has dropped it
)

// FileInfo is what is known of a file before it is opened. What a peer said of
// name and type is made safe, and a hint only.
type FileInfo struct {
	Name string `json:"name"`
	// Size is in bytes of plaintext; -1: a stream whose end is not known yet.
	Size int64  `json:"size"`
	Type string `json:"type"`
}

// File is the body of a file event, and an element of Message.Files. For an own
// file State is that of its message, or FileSending, FileCancelled, FileExpired
// or FileFailed.
type File struct {
	// ID is what file.get takes. In file.list, and in the event with which a file
	// came, it is the event's id, too; what changes later is an event of its own.
	ID string `json:"id,omitempty"`
	FileInfo
	State string `json:"state"`
	// MessageID is the message that the file is part of, if it is not one itself.
	MessageID string `json:"message_id,omitempty"`
	// Path is where a fetched file was saved.
	Path string `json:"path,omitempty"`
	// Expires is when the server drops it.
	Expires Time `json:"expires"`
	// Downloads counts, for an own file, how often the server handed it out.
	Downloads int    `json:"downloads,omitempty"`
	Thumbnail bool   `json:"thumbnail,omitempty"` // file.show has a picture
	Error     *Error `json:"error,omitempty"`
}
