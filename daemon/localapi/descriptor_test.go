//go:build unix

package localapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"secmsg/rpc/local"
)

// The caller's open files reach the backend in order, and the stream after them is
// complete.
func TestOpenFilesAreHandedOver(t *testing.T) {
	dir := t.TempDir()
	f := &filesFake{fake: newFake()}
	all := make(chan []string, 2) // for each call
	f.sendWith(func(_ context.Context, p local.FileSendParams, stream io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		var got []string
		defer func() { all <- got }()
		for _, s := range p.Sources {
			if s.Stream {
				continue
			}
			if !s.Descriptor {
				return local.SendResults{}, errors.New("only a path came")
			}
			file, err := s.Open()
			if err != nil {
				return local.SendResults{}, err
			}
			b, err := io.ReadAll(file)
			if err := errors.Join(err, file.Close()); err != nil {
				return local.SendResults{}, err
			}
			got = append(got, string(b))
		}
		b, err := io.ReadAll(stream)
		got = append(got, string(b))
		return local.SendResults{}, err
	})
	path, _ := start(t, f)
	p := local.FileSendParams{Peers: []string{"bob"}}
	for _, name := range []string{"one", "two", "three"} {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		p.Sources = append(p.Sources, local.FileSource{Path: "/not/there", Open: func() (*os.File, error) { return os.Open(at) }})
	}
	p.Sources = append(p.Sources[:2], local.FileSource{Stream: true, Name: "s"}, p.Sources[2])
	if _, err := dial(t, path).SendFiles(t.Context(), p, strings.NewReader("stream"), nil); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(<-all, " "); s != "one two three stream" {
		t.Error(s)
	}
	// A file that cannot be reopened is the caller's error.
	gone := errors.New("gone")
	p.Sources[1].Open = func() (*os.File, error) { return nil, gone }
	if _, err := dial(t, path).SendFiles(t.Context(), p, strings.NewReader("stream"), nil); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// The daemon closes open files that it did not ask for, and additional ones where it asked
// for one.
func TestOpenFilesThatNobodyAskedFor(t *testing.T) {
	f := &filesFake{fake: newFake()}
	answers := make(chan error, 8)
	f.sendWith(func(_ context.Context, p local.FileSendParams, _ io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		file, err := p.Sources[0].Open()
		if err == nil {
			err = file.Close()
		}
		answers <- err
		return local.SendResults{}, err
	})
	path, _ := start(t, f)
	open, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	many := make([]int, 250)
	for i := range many {
		many[i] = int(open.Fd())
	}
	before := openFiles(t)
	request := `{"jsonrpc":"2.0","id":1,"method":"file.send","params":{"peers":["b"],"sources":[{"path":"/x","descriptor":true}]}}` + "\n"
	reply := `{"jsonrpc":"2.0","method":"file.descriptor","params":{"source":0}}` + "\n"
	for _, c := range []struct {
		name  string
		early bool // the files come with the request
		line  string
		files []int
		ok    bool
	}{
		{"none", false, reply, nil, false},
		{"one", false, reply, many[:1], true},
		{"many", false, reply, many, true},
		{"with the request", true, reply, many, false},
		{"another source", false, strings.Replace(reply, "0}", "1}", 1), many, false},
		{"another line", false, `{"jsonrpc":"2.0","method":"file.end"}` + "\n", many, false},
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		u := conn.(*net.UnixConn)
		r := bufio.NewReader(u)
		rights := func(yes bool) []byte {
			if !yes || len(c.files) == 0 {
				return nil
			}
			return unix.UnixRights(c.files...)
		}
		if _, _, err := u.WriteMsgUnix([]byte(request), rights(c.early), nil); err != nil {
			t.Fatal(err)
		}
		if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, local.NotifyFileOpen) {
			t.Fatal(c.name, line, err)
		}
		if _, _, err := u.WriteMsgUnix([]byte(c.line), rights(!c.early), nil); err != nil {
			t.Fatal(err)
		}
		if err := <-answers; (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		_, _ = r.ReadString('\n') // skip the answer
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
	c := dial(t, path) // when this is answered, the earlier connections have ended, or nearly
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := openFiles(t); n > before+20 {
		t.Errorf("%d files are open, before it were %d", n, before)
	}
}

// A caller that disconnects while the daemon's question is unread ends only its own
// request.
func TestCallerThatIsGoneWhenItIsAsked(t *testing.T) {
	f := &filesFake{fake: newFake()}
	asked, gone, answers := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f.sendWith(func(_ context.Context, p local.FileSendParams, _ io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		open := p.Sources[0].Open
		done := make(chan error, 1)
		go func() { _, err := open(); done <- err }()
		close(asked)
		<-gone
		answers <- <-done
		return local.SendResults{}, io.ErrUnexpectedEOF
	})
	path, _ := start(t, f)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, `{"jsonrpc":"2.0","id":1,"method":"file.send","params":{"peers":["b"],"sources":[{"path":"/x","descriptor":true}]}}`+"\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// The question stays unread, so closing resets the connection.
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return n > 0 || !errors.Is(err, unix.EAGAIN)
	})
	if err := errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	close(gone)
	if err := <-answers; err == nil {
		t.Error("a file came from nobody")
	}
	if _, err := dial(t, path).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not tell which files are open")
	}
	return len(list)
}
