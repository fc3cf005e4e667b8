package localapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/daemon/call"
	"secmsg/rpc/local"
)

// callFake is a Backend with calls set by the test.
type callFake struct {
	*fake
	run func(ctx context.Context, s call.Streams, events func(local.Event)) (local.Call, error)
}

func (f *callFake) StartCall(ctx context.Context, _ local.CallStartParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	return f.run(ctx, s, events)
}

func callWith(t *testing.T, f func(ctx context.Context, s call.Streams, events func(local.Event)) (local.Call, error)) *local.Client {
	t.Helper()
	path, stop := start(t, &callFake{fake: newFake(), run: f})
	t.Cleanup(stop)
	c, err := local.Dial(t.Context(), local.Target{Sockets: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Two streams in each direction share a connection. A stream that is not read for a while
// does not delay the other.
func TestCallStreamsDoNotWaitForEachOther(t *testing.T) {
	sound, picture := bytes.Repeat([]byte("sound"), 40_000), bytes.Repeat([]byte("picture"), 60_000)
	c := callWith(t, func(_ context.Context, s call.Streams, events func(local.Event)) (local.Call, error) {
		events(local.Event{Type: local.TypeCall, Call: &local.Call{State: local.CallConnected}})
		for _, x := range []struct{ in, out string }{{local.StreamVideoIn, local.StreamVideoOut}, {local.StreamAudioIn, local.StreamAudioOut}} {
			in, err := s.Input(x.in)
			if err != nil {
				return local.Call{}, err
			}
			// A first reader of the stream that is closed consumes nothing.
			if err := in.Close(); err != nil {
				return local.Call{}, err
			}
			if in, err = s.Input(x.in); err != nil {
				return local.Call{}, err
			}
			out, err := s.Output(x.out)
			if err != nil {
				return local.Call{}, err
			}
			if _, err := io.Copy(out, in); err != nil {
				return local.Call{}, err
			}
			if err := out.Close(); err != nil {
				return local.Call{}, err
			}
		}
		if _, err := s.Input("other"); err == nil {
			return local.Call{}, errors.New("a stream that nobody has")
		}
		return local.Call{ID: "x", State: local.CallEnded, Reason: local.CallHangup}, nil
	})
	var audio, video bytes.Buffer
	seen := 0
	out, err := c.StartCall(t.Context(), local.CallStartParams{Peer: "bob", CallMedia: local.CallMedia{AudioIn: "-", VideoIn: "-", AudioOut: "-", VideoOut: "-"}},
		local.CallStreams{AudioIn: bytes.NewReader(sound), VideoIn: bytes.NewReader(picture), AudioOut: &audio, VideoOut: &video}, func(local.Event) { seen++ })
	if err != nil || out.Reason != local.CallHangup || seen != 1 {
		t.Fatalf("%+v, %v, %d events", out, err, seen)
	}
	if !bytes.Equal(audio.Bytes(), sound) || !bytes.Equal(video.Bytes(), picture) {
		t.Errorf("%d of %d and %d of %d bytes came", audio.Len(), len(sound), video.Len(), len(picture))
	}
}

// A caller that disconnects hangs up, even while its stream is being read.
func TestCallerOfACallLeaves(t *testing.T) {
	left := make(chan error, 1)
	c := callWith(t, func(ctx context.Context, s call.Streams, events func(local.Event)) (local.Call, error) {
		events(local.Event{Type: local.TypeCall, Call: &local.Call{State: local.CallRinging}})
		<-ctx.Done()
		left <- context.Cause(ctx)
		return local.Call{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.StartCall(ctx, local.CallStartParams{Peer: "bob"}, local.CallStreams{}, func(local.Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the caller gets %v", err)
	}
	select {
	case cause := <-left:
		if !errors.Is(cause, local.ErrCallerLeft) {
			t.Errorf("the call ends by %v", cause)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call does not end")
	}
}

// Data beyond the grant is rejected: a caller cannot fill the daemon's memory.
func TestCallStreamIsBounded(t *testing.T) {
	left := make(chan struct{})
	path, stop := start(t, &callFake{fake: newFake(), run: func(ctx context.Context, _ call.Streams, _ func(local.Event)) (local.Call, error) {
		<-ctx.Done()
		close(left)
		return local.Call{}, ctx.Err()
	}})
	defer stop()
	conn, err := local.DialRaw(t.Context(), local.Target{Sockets: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(`{"jsonrpc":"2.0","id":1,"method":"call.start","params":{"peer":"bob","audio_in":"-"}}` + "\n" +
		`{"jsonrpc":"2.0","method":"call.data","params":{"stream":"audio_in","length":5}}` + "\nhello"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("bytes that were not granted are taken")
	}
}

// Closing a stream between two pieces of one Write does not wait for a caller that never
// reads: otherwise the call could not end.
func TestClosedStreamDoesNotWait(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	o := &callOutput{c: &conn{c: near}, name: local.StreamAudioOut, writing: true}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		for {
			if err := o.data(make([]byte, local.MaxCallData)); err != nil {
				end <- err
				return
			}
		}
	}()
	select {
	case <-end:
	case <-time.After(5 * time.Second):
		near.Close()
		<-end
		t.Fatal("the stream waits")
	}
}

// TestCallFrames sends lines that are not valid frames of a call's streams. Each ends the
// stream with an error.
func TestCallFrames(t *testing.T) {
	const request = `{"jsonrpc":"2.0","id":1,"method":"call.start","params":{"peer":"bob","audio_in":"-"}}` + "\n"
	path, _ := start(t, &callFake{fake: newFake(), run: func(_ context.Context, s call.Streams, _ func(local.Event)) (local.Call, error) {
		in, err := s.Input(local.StreamAudioIn)
		if err == nil {
			_, err = io.ReadAll(in)
		}
		return local.Call{}, err
	}})
	for _, frame := range []string{
		`{"jsonrpc":"2.0","method":"call.data","params":{"stream":"audio_in","length":1,"length":2}}`,
		`{"jsonrpc":"2.0","method":"call.data","params":{"stream":"audio_in","Length":1}}`,
		`{"jsonrpc":"2.0","method":"call.data","params":{"\u017ftream":"audio_in","length":1}}`,
		`{"jsonrpc":"2.0","method":"call.data","params":{"stream":"audio_in","length":1,"more":1}}`,
		`{"jsonrpc":"2.0","method":"call.data","params":{"stream":"audio_in","length":65537}}`,
		`{"jsonrpc":"2.0","method":"call.data","params":{"stream":"video_in","length":1}}`,
		`{"jsonrpc":"2.0","method":"call.end","params":{"stream":"audio_in","length":1}}`,
		`{"jsonrpc":"2.0","method":"call.end","params":{"stream":"x","stream":"audio_in"}}`,
		`{"jsonrpc":"2.0","method":"call.end","params":{"stream":"audio_in"},"id":3}`,
		`{"jsonrpc":"2.0","method":"call.end","method":"call.data","params":{"stream":"audio_in"}}`,
		`{"jsonrpc":"2.0","method":"call.end","params":{"stream":"audio_in"}} x`,
		`{"jsonrpc":"2.0","method":"file.end","params":{}}`,
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
