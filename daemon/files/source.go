package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// sniffSize is the number of bytes from which a file's type is detected (WHATWG MIME
// Sniffing, section 5.2).
const sniffSize = 512

var (
	// errChanged says that the source has changed since its upload began.
	errChanged = errors.New("the file changed while it was sent")
	// errReplaced says that another file has taken the source's place.
	errReplaced = errors.New("another file has taken its place")
)

// source is the state of a local file when its upload began.
type source struct {
	Path   string `json:"path,omitempty"` // empty: a stream
	Size   int64  `json:"size"`           // as stated by the file system
	MTime  int64  `json:"mtime"`          // Unix nanoseconds
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// Unsized says that the stated size is not the readable size, as in /sys. Such a file
	// is read to its end, like a stream.
	Unsized bool `json:"unsized,omitempty"`
}

// length is the number of bytes to send, or -1 if only reading to the end tells.
func (s source) length() int64 {
	if s.Unsized {
		return -1
	}
	return s.Size
}

// openSource opens a regular file for reading. The error is a *local.Error.
func openSource(path string) (*os.File, source, error) {
	if !filepath.IsAbs(path) {
		return nil, source{}, local.Errorf(local.CodeUsage, "the path %q is not absolute", path)
	}
	// O_NONBLOCK: opening a FIFO would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, source{}, sourceError(path, err)
	}
	src, err := stat(path, f)
	if err != nil {
		return nil, source{}, errors.Join(err, f.Close())
	}
	return f, src, nil
}

// openGiven opens the source that a caller named, with the caller's permissions and view of
// the file system. A file that the caller handed over is used as it is. A file that is only
// named must be the one the caller sees at that path.
func openGiven(s local.FileSource) (*os.File, source, error) {
	if s.Open == nil {
		f, src, err := openSource(s.Path)
		if err == nil && s.Inode != 0 && (src.Device != s.Device || src.Inode != s.Inode) {
			err = errors.Join(local.Errorf(local.CodeUsage, "%s is a different file for the daemon than for you", s.Path).
				WithHint("secmsg file send PEER - --name NAME < %s", s.Path), f.Close())
		}
		return f, src, err
	}
	if !filepath.IsAbs(s.Path) {
		return nil, source{}, local.Errorf(local.CodeUsage, "the path %q is not absolute", s.Path)
	}
	f, err := s.Open()
	if err != nil {
		return nil, source{}, err
	}
	src, err := stat(s.Path, f)
	if err != nil {
		return nil, source{}, errors.Join(err, f.Close())
	}
	return f, src, nil
}

func stat(path string, f *os.File) (source, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return source{}, sourceError(path, err)
	case info.IsDir():
		return source{}, local.Errorf(local.CodeUsage, "%s is a directory", path).
			WithHint("tar c %s | secmsg file send PEER - --name %s.tar", path, filepath.Base(path))
	case !info.Mode().IsRegular():
		return source{}, local.Errorf(local.CodeUsage, "%s is not a regular file", path).
			WithHint("cat %s | secmsg file send PEER - --name NAME", path)
	}
	src := source{Path: path, Size: info.Size(), MTime: info.ModTime().UnixNano()}
	if src.Device, src.Inode, err = local.FileIdentity(f); err != nil {
		return source{}, sourceError(path, err)
	}
	src.Unsized, err = unsized(f, src.Size)
	if err != nil {
		return source{}, sourceError(path, err)
	}
	return src, nil
}

// unsized reports whether a file's stated size is wrong: its last byte cannot be read, or
// an empty file has content. Files that the kernel generates are like this.
func unsized(f *os.File, size int64) (bool, error) {
	var b [1]byte
	n, err := f.ReadAt(b[:], max(size-1, 0))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return (n == 0) != (size == 0), nil
}

func sourceError(path string, err error) *local.Error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return local.Errorf(local.CodeUsage, "%s: no such file", path)
	case errors.Is(err, fs.ErrPermission):
		return local.Errorf(local.CodeUsage, "%s: permission denied", path)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return local.Errorf(local.CodeIO, "cannot read %s: %v", path, err)
}

// same reports whether now is the same file as s, changed or not.
func (s source) same(now source) bool { return s.Device == now.Device && s.Inode == now.Inode }

// touched reports whether the same file may have other content now. A file that has only
// grown counts, too: its content has to be compared.
func (s source) touched(now source) bool {
	return !s.Unsized && (now.Size != s.Size || now.MTime != s.MTime)
}

// readerCtx is a Reader that fails after its context has ended.
type readerCtx struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r readerCtx) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(b)
}

// describe checks a source and returns the details that its peer gets. It also returns the
// open file, or nil for a stream; the caller closes it.
func describe(s local.FileSource, picture func(io.ReaderAt, int64) ([]byte, int, int, bool)) (store.FileDetails, *os.File, source, error) {
	d := store.FileDetails{Name: SafeName(s.Name), Size: -1}
	switch {
	case s.Stream && s.Path != "":
		return d, nil, source{}, local.Errorf(local.CodeUsage, "a source cannot have both path and stream")
	case s.Stream && s.Name == "":
		d.Name = "stdin"
		fallthrough
	case s.Stream:
		d.Type = typeOf(d.Name, nil)
		return d, nil, source{}, nil
	case s.Path == "":
		return d, nil, source{}, local.Errorf(local.CodeUsage, "a source needs a path or a stream")
	}
	f, src, err := openGiven(s)
	if err != nil {
		return d, nil, src, err
	}
	if s.Name == "" {
		d.Name = SafeName(filepath.Base(s.Path))
	}
	d.Size = src.length()
	head := make([]byte, sniffSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return d, nil, src, errors.Join(sourceError(s.Path, err), f.Close())
	}
	d.Type = typeOf(d.Name, head[:n])
	if strings.HasPrefix(d.Type, "image/") && !src.Unsized {
		if jpeg, w, h, ok := picture(f, src.Size); ok {
			d.Thumbnail, d.Width, d.Height = jpeg, uint32(w), uint32(h)
		}
	}
	return d, f, src, nil
}

// typeOf returns the media type for a file's extension, or else the one detected from its
// first bytes.
func typeOf(name string, head []byte) string {
	t := mime.TypeByExtension(filepath.Ext(name))
	if t == "" && len(head) > 0 {
		t = http.DetectContentType(head)
	}
	t, _, _ = strings.Cut(t, ";")
	t = strings.TrimSpace(t)
	if t == "" || len(t) > e2e.MaxFileType || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "application/octet-stream"
	}
	return t
}

// fingerprint identifies a source for an idempotency key.
func (s source) fingerprint(name string) string {
	return fmt.Sprintf("%q %q %d %d\n", s.Path, name, s.Size, s.MTime)
}
