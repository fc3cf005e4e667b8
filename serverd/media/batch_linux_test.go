package media

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/net/ipv4"
)

// badConn is a socket that fails, gives a packet, fails and is closed.
type badConn struct {
	batchConn
	bad    int // errors before the packet
	packet []byte
}

func (c *badConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	if c.bad--; c.bad > 0 {
		return -1, syscall.ENOMEM
	}
	if c.bad == 0 {
		ms[0].N, ms[0].Addr = copy(ms[0].Buffers[0], c.packet), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}
		return 1, nil
	}
	if c.bad > -3 {
		return 0, syscall.ECONNREFUSED
	}
	return 0, net.ErrClosed
}

// No error of a packet ends the reading of a socket; many in a row slow it down.
func TestReadErrors(t *testing.T) {
	s, err := New(Options{Realm: "r", Listen: "127.0.0.1:0", Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		r := &reader{conn: &badConn{bad: readErrors + 10, packet: request.Raw}, max: 1}
		r.grow()
		c := &packetConn{s: s, in: r}
		begin := time.Now()
		b := make([]byte, 100)
		n, from, err := c.ReadFrom(b)
		if err != nil || string(b[:n]) != string(request.Raw) || from.String() != "192.0.2.1:9" {
			t.Errorf("%x from %v: %v", b[:n], from, err)
		}
		if took := time.Since(begin); took != 9*readPause {
			t.Errorf("after %v", took)
		}
		if _, _, err := c.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
			t.Errorf("at the end: %v", err)
		}
	})
}

// brokenSegments is a network card without checksums: it cannot cut packets.
type brokenSegments struct {
	batchConn
	sent []string
	all  bool // nothing can be sent
}

func (c *brokenSegments) WriteBatch(ms []ipv4.Message, _ int) (int, error) {
	for i, m := range ms {
		if len(m.Buffers) > 1 || len(m.OOB) > 0 || c.all {
			if i == 0 {
				return -1, syscall.EIO
			}
			return i, nil
		}
		c.sent = append(c.sent, string(m.Buffers[0]))
	}
	return len(ms), nil
}

// Where packets cannot be sent as one they are sent apart, then and thereafter.
func TestSegmentsFallBack(t *testing.T) {
	to, other := &net.UDPAddr{Port: 1}, &net.UDPAddr{Port: 2}
	c := &brokenSegments{}
	w := &writer{conn: c, segments: true}
	add := func() {
		for _, text := range []string{"aa", "bb", "c", "dd", "", "ee"} {
			w.add([]byte(text), to)
		}
		w.add([]byte("ff"), other)
	}
	add()
	if w.n != 5 { // aa bb c, dd, nothing, ee; ff
		t.Errorf("%d messages", w.n)
	}
	if failed := w.flush(); failed != 0 || !w.empty() || w.segments || len(c.sent) != 7 {
		t.Errorf("%d failed, sent %q", failed, c.sent)
	}
	add()
	if w.n != 7 {
		t.Errorf("%d messages", w.n)
	}
	c.sent = nil
	if failed := w.flush(); failed != 0 || len(c.sent) != 7 || c.sent[4] != "" || c.sent[6] != "ff" {
		t.Errorf("%d failed, sent %q", failed, c.sent)
	}
	c.all, w.segments = true, true
	add()
	if failed := w.flush(); failed != 7 || !w.segments {
		t.Errorf("%d failed", failed)
	}
}

// The kernel takes no more than so much as one.
func TestSegmentBounds(t *testing.T) {
	to := &net.UDPAddr{Port: 1}
	w := &writer{conn: &brokenSegments{}, segments: true}
	for range maxSegments + 1 {
		w.add(make([]byte, 100), to)
	}
	if w.n != 2 || len(w.ms[0].Buffers) != maxSegments {
		t.Errorf("%d messages, %d packets", w.n, len(w.ms[0].Buffers))
	}
	w.n = 0
	for range maxSegments {
		w.add(make([]byte, maxPacket), to)
	}
	total := 0
	for _, b := range w.ms[0].Buffers {
		total += len(b)
	}
	if total > maxSegmented || w.n != 2 {
		t.Errorf("%d bytes, %d messages", total, w.n)
	}
}
