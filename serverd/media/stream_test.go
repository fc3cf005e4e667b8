package media

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A TCP connection without an allocation ends after its time, and occasional bytes do not postpone
// that.
func TestStreamGrace(t *testing.T) {
	s, err := New(Options{Realm: "r", Listen: "127.0.0.1:0", Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, trickle := range map[string]time.Duration{"silent": 0, "a byte now and then": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				c := &stream{Conn: ours, l: newStreamListener(nil, s), seen: time.Now()}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for _, b := range []byte("\x00\x01\x00\x00\x21\x12\xa4\x42") {
						if trickle == 0 {
							return
						}
						time.Sleep(trickle)
						if _, err := theirs.Write([]byte{b}); err != nil {
							return
						}
					}
				}()
				begin := time.Now()
				if n, err := c.Read(make([]byte, 100)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d %v", n, err)
				}
				if took := time.Since(begin); took != streamGrace {
					t.Errorf("ended after %v", took)
				}
				// pion closes a connection that it cannot read any longer.
				_ = c.Close()
				_ = theirs.Close()
				<-done
			})
		})
	}
}

// A client that does not read loses its connection, not the server.
func TestStreamWrite(t *testing.T) {
	s, err := New(Options{Realm: "r", Listen: "127.0.0.1:0", Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &stream{Conn: ours, l: newStreamListener(nil, s), seen: time.Now()}
		begin := time.Now()
		if _, err := c.Write(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != streamWrite {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := c.Write([]byte("more")); err == nil {
			t.Error("the connection is open after half a message")
		}
	})
}
