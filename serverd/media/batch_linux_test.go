package media

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"
)

func socket(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// An error that concerns a packet never ends the reading of a socket; many in a row slow it down.
func TestReadErrors(t *testing.T) {
	s, err := New(Options{Realm: "r", Listen: "127.0.0.1:0", Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	c := newPacketConn(socket(t), s)
	synctest.Test(t, func(t *testing.T) {
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		calls := 0
		c.in.call = func(_, _ uintptr, hs []mmsghdr) (int, syscall.Errno) {
			switch calls++; {
			case calls < readErrors+10:
				return 0, unix.ENOMEM
			case calls == readErrors+10:
				hs[0].n = uint32(copy(c.in.room[0][channelHeader:], request.Raw))
				c.in.names[0].set(netip.MustParseAddrPort("192.0.2.1:9"))
				return 1, 0
			}
			return 0, unix.ECONNREFUSED
		}
		begin := time.Now()
		b := make([]byte, 100)
		n, from, err := c.ReadFrom(b)
		if err != nil || string(b[:n]) != string(request.Raw) || from.String() != "192.0.2.1:9" {
			t.Errorf("%x from %v: %v", b[:n], from, err)
		}
		if took := time.Since(begin); took != 9*readPause {
			t.Errorf("after %v", took)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, _, err := c.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
			t.Errorf("at the end: %v", err)
		}
	})
}

// If packets cannot be sent as one, for example on a network card without checksums, they are sent
// separately, then and later.
func TestSegmentsFallBack(t *testing.T) {
	to, other := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:2")
	w := newWriter(socket(t))
	var sent []string
	all := false // sending fails
	w.call = func(_, _ uintptr, hs []mmsghdr) (int, syscall.Errno) {
		for i, h := range hs {
			if h.Iovlen > 1 || h.Controllen > 0 || all {
				if i == 0 {
					return 0, unix.EIO
				}
				return i, 0
			}
			sent = append(sent, string(unsafe.Slice(h.Iov.Base, h.Iov.Len)))
		}
		return len(hs), 0
	}
	add := func() {
		for _, text := range []string{"aa", "bb", "c", "dd", "", "ee"} {
			w.add([]byte(text), to)
		}
		w.add([]byte("ff"), other)
	}
	w.segments = true
	add()
	if len(w.ms) != 5 { // aa bb c, dd, nothing, ee; ff
		t.Errorf("%d messages", len(w.ms))
	}
	if failed := w.flush(); failed != 0 || !w.empty() || w.segments || len(sent) != 7 {
		t.Errorf("%d failed, sent %q", failed, sent)
	}
	add()
	if len(w.ms) != 7 {
		t.Errorf("%d messages", len(w.ms))
	}
	sent = nil
	if failed := w.flush(); failed != 0 || len(sent) != 7 || sent[4] != "" || sent[6] != "ff" {
		t.Errorf("%d failed, sent %q", failed, sent)
	}
	all, w.segments = true, true
	add()
	if failed := w.flush(); failed != 7 || !w.segments {
		t.Errorf("%d failed", failed)
	}
}

// The kernel accepts only a limited number of packets and bytes as one.
func TestSegmentBounds(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:1")
	w := &writer{segments: true}
	for range maxSegments + 1 {
		w.add(make([]byte, 100), to)
	}
	if len(w.ms) != 2 || w.ms[0].count != maxSegments {
		t.Errorf("%d messages, %d packets", len(w.ms), w.ms[0].count)
	}
	if failed := w.flush(); failed != maxSegments+1 || !w.empty() {
		t.Errorf("a closed socket accepted %d packets", maxSegments+1-failed)
	}
	for range maxSegments {
		w.add(make([]byte, maxPacket), to)
	}
	if len(w.ms) != 2 || w.ms[0].size > maxSegmented || w.ms[0].size != w.ms[0].count*maxPacket {
		t.Errorf("%d bytes, %d messages", w.ms[0].size, len(w.ms))
	}
}

// An address converted to the kernel's form and back is unchanged.
func TestName(t *testing.T) {
	for _, text := range []string{"192.0.2.1:9", "[2001:db8::1]:65535", "0.0.0.0:0"} {
		var s name
		a := netip.MustParseAddrPort(text)
		if s.set(a); s.get() != a {
			t.Errorf("%s: %v", text, s.get())
		}
	}
	var s name
	if s.get().IsValid() {
		t.Error("an address without a family was accepted")
	}
}

// The packets of an allocation are accepted only from the socket through which it was made, because
// only that socket's reader may write for it.
func TestChannelOfAnotherSocket(t *testing.T) {
	s, err := New(Options{Realm: "r", Listen: "127.0.0.1:0", Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	own, other := newPacketConn(socket(t), s), newPacketConn(socket(t), s)
	from, advertised := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:1000")
	r := &relayConn{UDPConn: socket(t), s: s, via: own.UDPConn, advertised: advertised, bound: advertised.Addr()}
	r.out = newWriter(r.UDPConn)
	r.session = &session{account: "alice", expires: time.Now().Add(time.Hour), relay: r}
	r.session.table.Store(&table{})
	if err := s.sessions.add(r.session); err != nil {
		t.Fatal(err)
	}
	defer s.sessions.remove(r.session)
	s.sessions.bind(advertised, endpoint{addr: from})
	s.sessions.change(advertised, func(_ *session, t *table) { t.open(0x4000, netip.MustParseAddrPort("127.0.0.1:7"), r) })
	p := packet{newRoom(), 5, from}
	copy(p.data(), []byte{0x40, 0, 0, 1, 'x'})
	if other.forward(p); !r.out.empty() || len(other.waiting) > 0 {
		t.Error("another socket's packet is passed on")
	}
	if own.forward(p); r.out.empty() || len(own.waiting) != 1 {
		t.Error("the own socket's is not")
	}
}
