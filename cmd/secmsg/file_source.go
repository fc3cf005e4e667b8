package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"secmsg/rpc/local"
)

// streamName is the default name of standard input as a file.
const streamName = "stdin"

// fileSources are the files that a command sends, and the stream if one of them is
// a stream.
type fileSources struct {
	sources []local.FileSource
	stream  io.Reader // nil if no source is a stream
	close   func()
}

// openSources checks the paths of a command. A regular file is opened here and its
// descriptor is passed to the daemon, which may see a different file at that path or
// have no permission to read it. Standard input, FIFOs, devices and descriptors of a
// process substitution are read here and streamed; there may be at most one.
func (a *app) openSources(ctx context.Context, paths []string, name string) (fileSources, error) {
	s := fileSources{close: func() {}}
	if name != "" && len(paths) > 1 {
		return s, usagef("--name goes with one file, but there are %d", len(paths))
	}
	for _, path := range paths {
		src, stream, err := a.openSource(ctx, path)
		if err != nil {
			s.close()
			return s, err
		}
		if name != "" {
			src.Name = name
		}
		s.sources = append(s.sources, src)
		if stream == nil {
			continue
		}
		if s.stream != nil {
			_ = stream.Close()
			s.close()
			return s, usagef("only one of the files may be standard input, a pipe or a device")
		}
		s.stream, s.close = stream, func() { _ = stream.Close() }
	}
	return s, nil
}

// emptyNote reads standard input and prints a note if it was empty. The command
// before the pipe may have failed, which this process cannot see.
type emptyNote struct {
	a   *app
	r   io.Reader
	any bool
}

// Read implements io.Reader.
func (e *emptyNote) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.any = e.any || n > 0
	if err == io.EOF && !e.any {
		e.any = true
		e.a.notef("standard input was empty: a file of 0 bytes is sent; did the command before the pipe fail? (set -o pipefail)")
	}
	return n, err
}

// Close leaves standard input open.
func (*emptyNote) Close() error { return nil }

// openSource checks one path.
func (a *app) openSource(ctx context.Context, path string) (local.FileSource, io.ReadCloser, error) {
	if path == "-" {
		if err := a.needStdin(); err != nil {
			return local.FileSource{}, nil, err
		}
		if a.stdinTerminal() {
			a.notef("type the content, then press Ctrl-D on an empty line")
		}
		return local.FileSource{Stream: true, Name: streamName}, &emptyNote{a: a, r: a.stdin}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return local.FileSource{}, nil, sourceError(path, err)
	}
	if info.IsDir() {
		return local.FileSource{}, nil, usagef("%s is a directory", path).
			WithHint("tar c %s | secmsg file send PEER - --name %s.tar", shellWord(path), shellWord(filepath.Base(absolute(path))))
	}
	abs := absolute(path)
	// A path that is not UTF-8 cannot be sent to the daemon in JSON.
	if info.Mode().IsRegular() && !ownPath(abs) && utf8.ValidString(abs) {
		open := func() (*os.File, error) { return openRegular(path) }
		// Report an unreadable file before the daemon is asked. The file is not kept open:
		// a command may send thousands, and each is opened again for its transfer.
		f, err := open()
		if err != nil {
			return local.FileSource{}, nil, err
		}
		_ = f.Close()
		return local.FileSource{Path: abs, Open: open}, nil, nil
	}
	// Opening a FIFO waits for its other end.
	f, err := await(ctx, func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		return local.FileSource{}, nil, sourceError(path, err)
	}
	name := strings.ToValidUTF8(filepath.Base(abs), "_")
	if descriptorPath(abs) {
		name = streamName
	}
	return local.FileSource{Stream: true, Name: name}, f, nil
}

// openRegular opens a regular file for reading.
func openRegular(path string) (*os.File, error) {
	// If a FIFO has replaced the file since, a blocking open would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, sourceError(path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = usagef("%s is no longer a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ownPath reports whether a path means something different in each process.
func ownPath(abs string) bool {
	return strings.HasPrefix(abs, "/dev/") || strings.HasPrefix(abs, "/proc/")
}

// descriptorPath reports whether a path names an open descriptor. Its number is not
// a useful file name.
func descriptorPath(abs string) bool {
	dir := filepath.Dir(abs)
	return abs == "/dev/stdin" || dir == "/dev/fd" || strings.HasPrefix(abs, "/proc/") && filepath.Base(dir) == "fd"
}

// absolute is filepath.Abs. That fails only if there is no working directory; then
// the path stays relative and the daemon refuses it.
func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

// shellWord quotes a word for a shell where that is needed.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/-+,:@%", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sourceError returns the error for a file of the caller that cannot be opened.
func sourceError(path string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%s: no such file", path)
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return local.Errorf(local.CodeIO, "%s: %v", path, err)
}
