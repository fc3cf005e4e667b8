package lab

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that returns what it receives.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // ends with the connection, for whatever reason
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// proxied returns a proxy to an echo server and a connection through it.
func proxied(t *testing.T) (*TCPProxy, *net.TCPConn) {
	t.Helper()
	p, err := NewTCPProxy("127.0.0.1:0", echo(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	roundTrip(t, c, []byte("hello"))
	return p, c.(*net.TCPConn)
}

func roundTrip(t *testing.T, c net.Conn, b []byte) time.Duration {
	t.Helper()
	start := time.Now()
	if err := c.SetDeadline(start.Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if _, err := c.Write(b); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Fatal("the echo differs from the sent bytes")
	}
	return time.Since(start)
}

func TestTCPProxyDelay(t *testing.T) {
	p, c := proxied(t)
	p.Set(TCPFaults{Delay: 50 * time.Millisecond})
	if took := roundTrip(t, c, []byte("x")); took < 100*time.Millisecond {
		t.Errorf("a round trip took %s with a delay of 50 ms in each direction", took)
	}
}

func TestTCPProxySlices(t *testing.T) {
	p, c := proxied(t)
	p.Set(TCPFaults{Slice: 7})
	roundTrip(t, c, bytes.Repeat([]byte("abcdefghijk"), 1000))
}

func TestTCPProxyRate(t *testing.T) {
	p, c := proxied(t)
	p.Set(TCPFaults{Rate: 20_000})
	if took := roundTrip(t, c, make([]byte, 4000)); took < 200*time.Millisecond {
		t.Errorf("4000 bytes took %s at 20000 bytes a second", took)
	}
}

func TestTCPProxyStall(t *testing.T) {
	for name, f := range map[string]TCPFaults{"up": {StallUp: true}, "down": {StallDown: true}} {
		t.Run(name, func(t *testing.T) {
			p, c := proxied(t)
			p.Set(f)
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Fatalf("read through a stalled line: %v", err)
			}
			p.Set(TCPFaults{})
			if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatalf("what was held back did not come: %v", err)
			}
		})
	}
}

// A reset is seen as a reset, in whatever order the two sides are closed.
func TestTCPProxyCut(t *testing.T) {
	for range 50 {
		cutOnce(t)
	}
}

func cutOnce(t *testing.T) {
	t.Helper()
	p, c := proxied(t)
	if n := p.Cut(true); n != 1 {
		t.Errorf("cut %d connections, want 1", n)
	}
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read after a reset: %v", err)
	}
}

func TestTCPProxyRefuse(t *testing.T) {
	p, _ := proxied(t)
	p.Set(TCPFaults{Refuse: true})
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a refused connection answers")
	}
}

// Closing a proxy ends it even while a connection is stalled.
func TestTCPProxyCloseStalled(t *testing.T) {
	p, c := proxied(t)
	p.Set(TCPFaults{StallUp: true, StallDown: true})
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}
