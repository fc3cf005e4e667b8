package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/crypto/identity"
	"secmsg/scripts/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryLine forwards in memory and can be made to fail.
type memoryLine struct {
	sent, acks chan int
	done       chan struct{}
	fail       error
}

func newMemoryLine() *memoryLine {
	return &memoryLine{sent: make(chan int, 100), acks: make(chan int, 100), done: make(chan struct{})}
}

func (l *memoryLine) Send(_ []byte, n int) error { l.sent <- n; return nil }

func (l *memoryLine) Acked() (int, error) {
	select {
	case n := <-l.acks:
		return n, l.fail
	case <-l.done:
		return 0, io.ErrClosedPipe
	}
}

func (l *memoryLine) Receive(got func([]byte)) error {
	select {
	case n := <-l.sent:
		for range n {
			got(make([]byte, 8))
		}
		l.acks <- n
		return nil
	case <-l.done:
		return io.ErrClosedPipe
	}
}

func (l *memoryLine) Close() error { close(l.done); return nil }

func TestRunCounts(t *testing.T) {
	begun, ended := 0, 0
	out, err := Run(t.Context(), []Line{newMemoryLine(), newMemoryLine()}, Load{
		Window: 4, Duration: 100 * time.Millisecond, Begin: func() { begun++ }, End: func() { ended++ }})
	if err != nil {
		t.Fatal(err)
	}
	if out.Acked == 0 || len(out.Latency) == 0 || begun != 1 || ended != 1 || out.Took < 100*time.Millisecond {
		t.Errorf("outcome %d acked in %s, %d latencies; begun %d, ended %d", out.Acked, out.Took, len(out.Latency), begun, ended)
	}
}

func TestRunHoldsTheRate(t *testing.T) {
	out, err := Run(t.Context(), []Line{newMemoryLine(), newMemoryLine()}, Load{Window: 4, Rate: 100, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if out.Acked > 110 || out.Acked < 20 { // a busy machine may be slower, never faster
		t.Errorf("%d messages in a second at 100 a second", out.Acked)
	}
}

func TestRunReportsFailure(t *testing.T) {
	bad := errors.New("rejected")
	l := newMemoryLine()
	l.fail = bad
	if _, err := Run(t.Context(), []Line{l}, Load{Window: 4, Duration: time.Minute}); !errors.Is(err, bad) {
		t.Errorf("a load that is rejected: %v", err)
	}
}

// Real devices on a real server: pairs that are online, and a mailbox that is fetched.
func TestServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w, err := lab.New(ctx, lab.Options{ServerEnv: lab.RaisedLimits()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	text, err := w.Invite(ctx, 4)
	if err != nil {
		t.Fatal(err)
	}
	invite, err := identity.ParseInvite(text)
	if err != nil {
		t.Fatal(err)
	}
	realm := NewRealm(w.Listen(), "localhost")
	defer realm.Close()
	devices, err := realm.RegisterMany(ctx, invite.Token, "load", 4)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 4; i += 2 {
		if err := Befriend(ctx, devices[i], devices[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, online := range []bool{true, false} {
		t.Run(fmt.Sprintf("online=%v", online), func(t *testing.T) {
			var lines []Line
			for i := 0; i < 4; i += 2 {
				l, err := NewLine(ctx, devices[i], devices[i+1], 1024, online)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, l)
			}
			out, err := Run(ctx, lines, Load{Window: 8, Duration: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if out.Acked == 0 || online != (len(out.Latency) > 0) {
				t.Errorf("%d accepted, %d received", out.Acked, len(out.Latency))
			}
		})
	}
	n, _, err := Drain(ctx, devices[1], 8)
	if err != nil || n < 8 {
		t.Errorf("drained %d: %v", n, err)
	}
}
