package localapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"secmsg/rpc/local"
)

// filesFake is a Backend with transfers set by the test.
type filesFake struct {
	*fake
	mu        sync.Mutex // for the race detector, which does not know that the socket orders accesses
	sendFiles func(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error)
	getFile   func(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error)
}

func (f *filesFake) SendFiles(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error) {
	f.mu.Lock()
	send := f.sendFiles
	f.mu.Unlock()
	return send(ctx, p, stream, progress)
}

func (f *filesFake) GetFile(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error) {
	f.mu.Lock()
	get := f.getFile
	f.mu.Unlock()
	return get(ctx, p, stream, progress)
}

func (f *filesFake) sendWith(send func(context.Context, local.FileSendParams, io.Reader, func(local.FileProgress)) (local.SendResults, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendFiles = send
}

func (f *filesFake) getWith(get func(context.Context, local.FileGetParams, io.WriteCloser, func(local.FileProgress)) (local.FileGot, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.getFile = get
}

// content is longer than one frame and any buffer, and looks like lines.
func content() []byte {
	return bytes.Repeat([]byte(`{"jsonrpc":"2.0","method":"file.end"}`+"\n\x00"), 3*local.MaxFileData/38)
}

func streamParams() local.FileSendParams {
	return local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{{Stream: true, Name: "s"}}}
}

func TestStreamGoesUp(t *testing.T) {
	f := &filesFake{fake: newFake()}
	var got []byte
	f.sendFiles = func(_ context.Context, _ local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error) {
		progress(local.FileProgress{Name: "s", Done: 1})
		var err error
		got, err = io.ReadAll(stream)
		return local.SendResults{Results: []local.SendResult{{ID: "i"}}}, err
	}
	path, _ := start(t, f)
	c := dial(t, path)
	told := 0
	out, err := c.SendFiles(t.Context(), streamParams(), iotest.HalfReader(bytes.NewReader(content())), func(local.FileProgress) { told++ })
	if err != nil || len(out.Results) != 1 || told != 1 {
		t.Errorf("%+v, %v, told %d times", out, err, told)
	}
	if !bytes.Equal(got, content()) {
		t.Errorf("%d bytes came of %d", len(got), len(content()))
	}
	// The ordinary connection still works.
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStreamComesDown(t *testing.T) {
	f := &filesFake{fake: newFake()}
	f.getWith(func(_ context.Context, _ local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error) {
		if _, err := stream.Write(content()); err != nil {
			return local.FileGot{}, err
		}
		progress(local.FileProgress{Done: 2})
		return local.FileGot{ID: "i"}, stream.Close()
	})
	path, _ := start(t, f)
	c := dial(t, path)
	var got bytes.Buffer
	out, err := c.GetFile(t.Context(), local.FileGetParams{ID: "i", Stream: true}, &got, func(local.FileProgress) {})
	if err != nil || out.ID != "i" || !bytes.Equal(got.Bytes(), content()) {
		t.Errorf("%+v, %v, %d bytes", out, err, got.Len())
	}
	// A caller that does not read everything gets an error, and the file does not count as
	// fetched.
	closed := errors.New("my pipe is closed")
	fetched := make(chan error, 1)
	f.getWith(func(_ context.Context, _ local.FileGetParams, stream io.WriteCloser, _ func(local.FileProgress)) (local.FileGot, error) {
		var err error
		for range 20 {
			if _, err = stream.Write(content()); err != nil {
				break
			}
		}
		fetched <- errors.Join(err, stream.Close())
		return local.FileGot{}, err
	})
	_, err = c.GetFile(t.Context(), local.FileGetParams{ID: "i", Stream: true}, failing{closed}, nil)
	if !errors.Is(err, closed) || <-fetched == nil {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestCallerWhoLeaves ends a transfer whose caller disconnects with unread data in the
// socket, and one whose stream breaks off.
func TestCallerWhoLeaves(t *testing.T) {
	f := &filesFake{fake: newFake()}
	cause := make(chan error, 1)
	begun := make(chan struct{}, 1)
	f.sendWith(func(ctx context.Context, _ local.FileSendParams, _ io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		begun <- struct{}{}
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return local.SendResults{}, ctx.Err()
	})
	path, stop := start(t, f)
	c := dial(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := c.SendFiles(ctx, streamParams(), bytes.NewReader(content()), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := <-cause; !errors.Is(err, local.ErrCallerLeft) {
		t.Errorf("cause %v", err)
	}
	f.sendWith(func(_ context.Context, _ local.FileSendParams, stream io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		_, err := io.ReadAll(stream)
		cause <- err
		return local.SendResults{}, err
	})
	broken := errors.New("the disk is gone")
	_, err := c.SendFiles(t.Context(), streamParams(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), nil)
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if err := <-cause; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v", err)
	}
	// A daemon that stops is not a caller that disconnects.
	f.sendWith(func(ctx context.Context, _ local.FileSendParams, _ io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		begun <- struct{}{}
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return local.SendResults{}, ctx.Err()
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.SendFiles(t.Context(), local.FileSendParams{Peers: []string{"b"}, Sources: []local.FileSource{{Path: "/x"}}}, nil, nil)
		done <- err
	}()
	<-begun
	stop()
	if err := <-cause; errors.Is(err, local.ErrCallerLeft) {
		t.Errorf("cause %v", err)
	}
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// TestRefusedEarly answers before the stream is read.
func TestRefusedEarly(t *testing.T) {
	f := &filesFake{fake: newFake()}
	f.sendFiles = func(context.Context, local.FileSendParams, io.Reader, func(local.FileProgress)) (local.SendResults, error) {
		return local.SendResults{}, local.Errorf(local.CodeUntrusted, "not verified")
	}
	path, _ := start(t, f)
	_, err := dial(t, path).SendFiles(t.Context(), streamParams(), bytes.NewReader(bytes.Repeat(content(), 4)), nil)
	if local.As(err).Code != local.CodeUntrusted {
		t.Errorf("error %v", err)
	}
}

// TestStreamIsNobodysRequest: the data of a stream is never parsed as requests, even if the
// stream's request is invalid.
func TestStreamIsNobodysRequest(t *testing.T) {
	path, _ := start(t, &filesFake{fake: newFake()})
	const inside = `{"jsonrpc":"2.0","id":7,"method":"status.get"}` + "\n"
	data := `{"jsonrpc":"2.0","method":"file.data","params":{"length":` + strconv.Itoa(len(inside)) + `}}` + "\n"
	for _, request := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"file.send","params":{"peers":["b"],"sources":[{"stream":true}],"newer":1}}` + "\n",
		`{"jsonrpc":"2.0","id":1,"method":"file.push","params":{}}` + "\n",
		"nonsense\n",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request+data+inside); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if (err != nil && !errors.Is(err, syscall.ECONNRESET)) || !strings.Contains(string(answer), `"error"`) || strings.Contains(string(answer), `"id":7`) {
			t.Errorf("%s: %s, %v", request, answer, err)
		}
		_ = conn.Close()
	}
}

// TestTransferFrames sends lines that are not valid frames of a stream.
func TestTransferFrames(t *testing.T) {
	f := &filesFake{fake: newFake()}
	f.sendFiles = func(_ context.Context, _ local.FileSendParams, stream io.Reader, _ func(local.FileProgress)) (local.SendResults, error) {
		_, err := io.ReadAll(stream)
		return local.SendResults{}, err
	}
	path, _ := start(t, f)
	const request = `{"jsonrpc":"2.0","id":1,"method":"file.send","params":{"peers":["b"],"sources":[{"stream":true}]}}` + "\n"
	for _, frame := range []string{
		`{"jsonrpc":"2.0","method":"file.data","params":{"length":0}}`,
		`{"jsonrpc":"2.0","method":"file.data","params":{"length":-1}}`,
		`{"jsonrpc":"2.0","method":"file.data","params":{"length":1048577}}`,
		`{"jsonrpc":"2.0","method":"file.data","params":{"length":1,"more":2}}`,
		`{"jsonrpc":"2.0","method":"file.data","params":{"length":1,"length":2}}`,
		`{"jsonrpc":"2.0","method":"file.data","params":{"Length":1}}`,
		`{"jsonrpc":"2.0","method":"file.data","method":"file.end","params":{"length":1}}`,
		`{"jsonrpc":"2.0","method":"file.data","METHOD":"file.end"}`,
		`{"jsonrpc":"2.0","method":"file.data","params":{"length":1},"extra":1}`,
		`{"jsonrpc":"2.0","method":"file.end","params":{"length":1}}`,
		`{"jsonrpc":"2.0","method":"file.end"} {}`,
		"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}",
		`{"jsonrpc":"2.0","id":2,"method":"status.get"}`,
		`{"jsonrpc":"2.0","method":"event"}`,
		`nonsense`,
		strings.Repeat("[", 100),
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request+frame+"\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(answer), `"code":"usage"`) {
			t.Errorf("%s: %s, %v", frame, answer, err)
		}
		_ = conn.Close()
	}
}
