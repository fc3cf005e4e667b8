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

// sniffSize is how much of a file tells its type (WHATWG MIME Sniffing, section 5.2).
const sniffSize = 512

// errChanged says that a source is not what it was when its upload began.
var errChanged = errors.New("the source has changed")

// source is a file on this machine as it was when its upload began.
type source struct {
	Path   string `json:"path,omitempty"` // empty: a stream
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime"` // Unix nanoseconds
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
}

// openSource opens a regular file for reading. The error is a *local.Error.
func openSource(path string) (*os.File, source, error) {
	if !filepath.IsAbs(path) {
		return nil, source{}, local.Errorf(local.CodeUsage, "the path of a file must be absolute: %q", path)
	}
	// Opening a FIFO would wait for its writer.
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
	src.Device, src.Inode = inodeOf(info)
	return src, nil
}

func sourceError(path string, err error) *local.Error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return local.Errorf(local.CodeUsage, "there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return local.Errorf(local.CodeUsage, "the file %s may not be read", path)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return local.Errorf(local.CodeIO, "%s cannot be read: %v", path, err)
}

// reopen opens the source again and checks that it is the same: errChanged, or
// a *local.Error.
func (s source) reopen() (*os.File, error) {
	f, now, err := openSource(s.Path)
	if err != nil {
		return nil, err
	}
	if now != s {
		return nil, errors.Join(errChanged, f.Close())
	}
	return f, nil
}

// readerCtx ends with its context.
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

// describe checks a source and says what the peer is told of it.
func describe(s local.FileSource, picture func(io.ReaderAt, int64) ([]byte, int, int, bool)) (store.FileDetails, source, error) {
	d := store.FileDetails{Name: SafeName(s.Name), Size: -1}
	switch {
	case s.Stream && s.Path != "":
		return d, source{}, local.Errorf(local.CodeUsage, "a source is a path or a stream, not both")
	case s.Stream && s.Name == "":
		d.Name = "stdin"
		fallthrough
	case s.Stream:
		d.Type = typeOf(d.Name, nil)
		return d, source{}, nil
	case s.Path == "":
		return d, source{}, local.Errorf(local.CodeUsage, "a source has neither path nor stream")
	}
	f, src, err := openSource(s.Path)
	if err != nil {
		return d, src, err
	}
	defer f.Close()
	if s.Name == "" {
		d.Name = SafeName(filepath.Base(s.Path))
	}
	d.Size = src.Size
	head := make([]byte, sniffSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return d, src, sourceError(s.Path, err)
	}
	d.Type = typeOf(d.Name, head[:n])
	if strings.HasPrefix(d.Type, "image/") {
		if jpeg, w, h, ok := picture(f, src.Size); ok {
			d.Thumbnail, d.Width, d.Height = jpeg, uint32(w), uint32(h)
		}
	}
	return d, src, nil
}

// typeOf names the media type of a file by its name, or else by how it begins.
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

// fingerprint says for an idempotency key what a source was.
func (s source) fingerprint(name string) string {
	return fmt.Sprintf("%q %q %d %d\n", s.Path, name, s.Size, s.MTime)
}
