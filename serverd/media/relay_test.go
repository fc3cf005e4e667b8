package media_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"secmsg/scripts/poll"
	"secmsg/serverd/limit"
	"secmsg/serverd/media"
)

// A client relays to a peer and back, over UDP and over TCP.
func TestEcho(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s, _ := server(t, nil)
			relay, other := allocate(t, s, network, "alice"), udp(t)
			for i := range 20 { // first by Send indications, then by a channel
				text := fmt.Sprint("ping ", i, strings.Repeat("x", 60*i))
				send(t, relay, text, other.LocalAddr())
				got, from := receive(t, other)
				if got != text || from.String() != relay.LocalAddr().String() {
					t.Fatalf("%q from %v", got, from)
				}
				send(t, other, "pong"+text, from)
				if got, from := receive(t, relay); got != "pong"+text || from.String() != other.LocalAddr().String() {
					t.Fatalf("%q from %v", got, from)
				}
			}
			c := s.Counters()
			if c["packets_to_peers"] != 20 || c["packets_from_peers"] != 20 || c["allocations"] != 1 || c["dropped_bandwidth"] != 0 {
				t.Errorf("%v", c)
			}
			if err := relay.Close(); err != nil {
				t.Error(err)
			}
			poll.Until(t, "the allocation ends", func() bool { return s.Counters()["allocations"] == 0 })
		})
	}
}

// Two devices that both relay here can talk, even if this machine's public address is not one of its
// own.
func TestTwoRelayed(t *testing.T) {
	for name, public := range map[string][]netip.Addr{"own address": nil, "behind a NAT": {netip.MustParseAddr("93.184.216.34")}} {
		t.Run(name, func(t *testing.T) {
			s, _ := server(t, func(o *media.Options) { o.Loopback, o.Public = false, public })
			alice, bob := allocate(t, s, "udp", "alice"), allocate(t, s, "tcp", "bob")
			if public != nil && !strings.HasPrefix(alice.LocalAddr().String(), public[0].String()+":") {
				t.Fatalf("relayed at %v", alice.LocalAddr())
			}
			send(t, bob, "open", alice.LocalAddr()) // gives bob a permission for alice
			poll.Until(t, "both can send", func() bool {
				send(t, alice, "hello", bob.LocalAddr())
				if err := bob.SetReadDeadline(time.Now().Add(silence)); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 100)
				n, from, err := bob.ReadFrom(b)
				return err == nil && string(b[:n]) == "hello" && from.String() == alice.LocalAddr().String()
			})
			send(t, bob, "hello yourself", alice.LocalAddr())
			for {
				if got, from := receive(t, alice); got == "hello yourself" && from.String() == bob.LocalAddr().String() {
					break
				}
			}
		})
	}
}

// TestSelfTest: the self-test succeeds, also behind a NAT, and leaves nothing behind.
func TestSelfTest(t *testing.T) {
	for name, change := range map[string]func(*media.Options){
		"loopback": nil,
		"NAT": func(o *media.Options) {
			o.Loopback, o.Public = false, []netip.Addr{netip.MustParseAddr("93.184.216.34")}
		},
		"wildcard": func(o *media.Options) { o.Listen = ":0" },
		"IPv6":     func(o *media.Options) { o.Listen = "[::1]:0" },
		"full":     func(o *media.Options) { o.Limits.Total = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "IPv6" {
				c, err := net.ListenPacket("udp6", "[::1]:0")
				if err != nil {
					t.Skip("SKIPPED: this machine has no IPv6")
				}
				_ = c.Close()
			}
			s, _ := server(t, change)
			if name == "full" {
				allocate(t, s, "udp", "alice")
			}
			if err := s.Test(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st := s.Status(); !st.Open || st.Err != nil || st.Tested.IsZero() || len(st.Relay) == 0 || len(s.Problems()) > 0 {
				t.Errorf("%+v %v", st, s.Problems())
			}
			left := int64(0)
			if name == "full" {
				left = 1
			}
			poll.Until(t, "the test's allocations end", func() bool { return s.Counters()["allocations"] == left })
		})
	}
}

// A self-test that cannot relay reports it.
func TestSelfTestFails(t *testing.T) {
	taken := udp(t)
	port := uint16(taken.LocalAddr().(*net.UDPAddr).Port)
	s, _ := server(t, func(o *media.Options) { o.MinPort, o.MaxPort = port, port })
	if err := s.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "allocate") {
		t.Errorf("got %v", err)
	}
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0], "self-test") || s.Status().Err == nil {
		t.Errorf("%v", p)
	}
}

// A private address without a configured public one causes a warning.
func TestPrivateAddressWarns(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Loopback = false })
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0], "media.public_address") {
		t.Errorf("%v", p)
	}
}

// A busy port is a temporary error.
func TestBusyPort(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			var address string
			var free func() error
			if network == "udp" {
				c := udp(t)
				address, free = c.LocalAddr().String(), c.Close
			} else {
				l, err := net.Listen("tcp4", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				address, free = l.Addr().String(), l.Close
			}
			s, err := media.New(media.Options{Realm: realm, Listen: address, Loopback: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Open(t.Context()); err == nil || s.Addr().IsValid() || s.Status().Open || len(s.Problems()) != 1 {
				t.Errorf("opened: %v %v", err, s.Problems())
			}
			if err := free(); err != nil {
				t.Fatal(err)
			}
			if err := s.Open(t.Context()); err != nil || len(s.Problems()) != 0 || s.Addr().String() != address {
				t.Errorf("again: %v %v", err, s.Problems())
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Open(t.Context()); err == nil {
				t.Error("opened after the end")
			}
		})
	}
}

// Packets above an account's bandwidth are dropped and counted, in both directions, and all allocations
// of the account share the bandwidth.
func TestBandwidth(t *testing.T) {
	s, clock := server(t, func(o *media.Options) { o.Limits.Bandwidth = 1000 })
	first, second, other, peer := allocate(t, s, "udp", "alice"), allocate(t, s, "udp", "alice"), allocate(t, s, "udp", "bob"), udp(t)
	text := strings.Repeat("x", 500-28) // plus the headers
	count := func(name string, n int64) {
		t.Helper()
		poll.Until(t, fmt.Sprint(name, " is ", n), func() bool { return s.Counters()[name] == n })
	}
	for i := range 3 { // the burst is 2 s of 1000 bytes
		send(t, first, text, peer.LocalAddr())
		count("packets_to_peers", int64(i+1))
	}
	send(t, second, text, peer.LocalAddr())
	count("packets_to_peers", 4)
	send(t, second, text, peer.LocalAddr())
	count("dropped_bandwidth", 1)
	send(t, peer, text, first.LocalAddr())
	count("dropped_bandwidth", 2)
	send(t, other, text, peer.LocalAddr())
	count("packets_to_peers", 5)
	clock.Advance(time.Second)
	send(t, peer, text, first.LocalAddr())
	count("packets_from_peers", 1)
	send(t, first, text, peer.LocalAddr())
	count("packets_to_peers", 6)
	send(t, first, text, peer.LocalAddr())
	count("dropped_bandwidth", 3)
	// A new allocation does not bring new bandwidth.
	_, _ = first.Close(), second.Close()
	count("allocations", 1)
	again := allocate(t, s, "udp", "alice")
	send(t, again, text, peer.LocalAddr())
	count("dropped_bandwidth", 4)
}

// Packets without content are charged, too.
func TestBandwidthOfHeaders(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Limits.Bandwidth = 28 })
	relay, peer := allocate(t, s, "udp", "alice"), udp(t)
	for range 3 { // 2 s are the burst
		send(t, relay, "", peer.LocalAddr())
	}
	poll.Until(t, "one packet too many", func() bool { return s.Counters()["dropped_bandwidth"] == 1 })
	if c := s.Counters(); c["packets_to_peers"] != 2 || c["bytes_to_peers"] != 0 {
		t.Errorf("%v", c)
	}
}

// A peer without a permission cannot use up the account's bandwidth.
func TestStrangers(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Limits.Bandwidth = 1000 })
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	code, m := r.do(stun.MethodAllocate, transport(17))
	if code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	var relay stun.XORMappedAddress
	if err := relay.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		t.Fatal(err)
	}
	if code, _ := r.do(stun.MethodCreatePermission, peer(netip.MustParseAddrPort("127.0.0.7:0"))); code != 0 {
		t.Fatalf("permission: %d", code)
	}
	at := func(ip string) net.PacketConn {
		c, err := net.ListenPacket("udp4", ip+":0")
		if err != nil {
			t.Skipf("SKIPPED: this machine has no %s: %v", ip, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	named, stranger, to := at("127.0.0.7"), at("127.0.0.8"), &net.UDPAddr{IP: relay.IP, Port: relay.Port}
	text := strings.Repeat("x", 1000)
	for range 10 {
		send(t, stranger, text, to)
	}
	poll.Until(t, "they are dropped", func() bool { return s.Counters()["dropped_strangers"] == 10 })
	send(t, named, text, to)
	got, _ := receive(t, r.conn)
	if !strings.Contains(got, text) {
		t.Errorf("%q", got)
	}
	if c := s.Counters(); c["packets_from_peers"] != 1 || c["dropped_bandwidth"] != 0 {
		t.Errorf("%v", c)
	}
}

// relayed is a raw client with a channel to a peer, and the relayed address.
func relayed(t *testing.T, s *media.Server, account string) (r *raw, other net.PacketConn, relay net.Addr) {
	t.Helper()
	username, password, _ := s.Mint(account)
	r, other = newRaw(t, s, username, password), udp(t)
	code, m := r.do(stun.MethodAllocate, transport(17))
	var x stun.XORMappedAddress
	if code != 0 || x.GetFromAs(m, stun.AttrXORRelayedAddress) != nil {
		t.Fatalf("allocate: %d", code)
	}
	if code, _ := r.do(stun.MethodChannelBind, channel(0x4001), peer(other.LocalAddr().(*net.UDPAddr).AddrPort())); code != 0 {
		t.Fatalf("channel: %d", code)
	}
	return r, other, &net.UDPAddr{IP: x.IP, Port: x.Port}
}

// Packets of all lengths, in bursts that are read and written together, arrive once each, unchanged and
// in order, in both directions.
func TestBursts(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Limits.Bandwidth = 1 << 40 })
	r, other, relay := relayed(t, s, "alice")
	lengths := func(round int) []int {
		return [][]int{{0}, {1, 1, 1}, {1000, 1000, 1000, 1000, 400, 1000, 1000}, {0, 0, 5, 0, 5, 5}, {1300, 1301, 1300, 7}, {1591, 1, 1591}}[round%6]
	}
	for round := range 60 {
		var texts []string
		for i, n := range lengths(round) {
			texts = append(texts, strings.Repeat(string(rune('a'+(round+i)%26)), n))
		}
		for _, text := range texts {
			b := append([]byte{0x40, 1, byte(len(text) >> 8), byte(len(text))}, text...)
			send(t, r.conn, string(b), r.to)
		}
		for i, text := range texts {
			if got, from := receive(t, other); got != text || from.String() != relay.String() {
				t.Fatalf("round %d, packet %d: %d bytes for %d, from %v", round, i, len(got), len(text), from)
			}
		}
		for _, text := range texts {
			send(t, other, text, relay)
		}
		for i, text := range texts {
			if got, _ := receive(t, r.conn); got[:2] != "\x40\x01" || int(got[2])<<8|int(got[3]) != len(text) || got[4:] != text {
				t.Fatalf("round %d, packet %d back: %d bytes for %d", round, i, len(got), len(text))
			}
		}
	}
	// Data that is not ChannelData of an existing channel is dropped.
	for _, junk := range []string{"\x40\x02\x00\x04abcd", "\x40\x01\x00\x05abcd", "\x40\x01\xff\xff", "\x40", "\x40\x01\x00", "\x7f\xff\x00\x01a"} {
		send(t, r.conn, junk, r.to)
	}
	send(t, udp(t), "\x40\x01\x00\x04abcd", r.to) // of an unknown client
	// Padding is not part of the content.
	send(t, r.conn, "\x40\x01\x00\x01a\x00\x00\x00", r.to)
	if got, _ := receive(t, other); got != "a" {
		t.Errorf("%q", got)
	}
	quietFor(t, other)
	if c := s.Counters(); c["failed_packets"] != 0 || c["packets_to_peers"] != c["packets_from_peers"]+1 {
		t.Errorf("%v", c)
	}
}

// A channel ends with its allocation: no packet passes, in either direction.
func TestChannelEnds(t *testing.T) {
	s, _ := server(t, nil)
	r, other, relay := relayed(t, s, "alice")
	if code, _ := r.do(stun.MethodRefresh, lifetime(0)); code != 0 {
		t.Fatalf("end: %d", code)
	}
	poll.Until(t, "it ends", func() bool { return s.Counters()["allocations"] == 0 })
	send(t, r.conn, "\x40\x01\x00\x04abcd", r.to)
	send(t, other, "abcd", relay)
	quietFor(t, other)
	quietFor(t, r.conn)
}

// Over TCP, packets of a few bytes pass at once.
func TestStreamSmall(t *testing.T) {
	s, _ := server(t, nil)
	relay, other := allocate(t, s, "tcp", "alice"), udp(t)
	send(t, relay, "begin", other.LocalAddr()) // pion's client binds a channel meanwhile
	_, from := receive(t, other)
	poll.Until(t, "a channel", func() bool { // indications have more than 8 bytes in any case
		send(t, relay, "a", other.LocalAddr())
		got, _ := receive(t, other)
		return got == "a"
	})
	for range 50 {
		send(t, relay, "b", other.LocalAddr())
		if got, at := receive(t, other); got != "b" || at.String() != from.String() {
			t.Fatalf("%q from %v", got, at)
		}
	}
}

// Answers to unknown addresses are bounded, because they may go to somebody else and are longer than
// the requests.
func TestAmplification(t *testing.T) {
	s, clock := server(t, func(o *media.Options) { o.Limits.Requests = limit.Rate{Burst: 4, Every: time.Second} })
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password) // used one
	binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	for i := range 3 {
		m := r.exchange(stun.MustBuild(stun.TransactionID, stun.BindingRequest))
		if m == nil {
			t.Fatalf("request %d got no answer", i)
		}
		if len(m.Raw) > 3*len(binding.Raw) {
			t.Errorf("an answer of %d bytes to %d", len(m.Raw), len(binding.Raw))
		}
	}
	send(t, r.conn, string(binding.Raw), r.to)
	send(t, r.conn, string(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transport(17)).Raw), r.to)
	quietFor(t, r.conn)
	if n := s.Counters()["dropped_requests"]; n != 2 {
		t.Errorf("%d dropped", n)
	}
	clock.Advance(time.Second)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Errorf("allocate: %d", code)
	}
	// With an allocation, requests are answered, because the address is known to be the client's.
	for range 5 {
		if code, _ := r.do(stun.MethodRefresh); code != 0 {
			t.Errorf("refresh: %d", code)
		}
	}
	for _, junk := range []string{"", "x", "\x00\x01", strings.Repeat("\x00", 20), "\x40\x00\x00\x04abcd", "\xff\xff\xff\xff", string(binding.Raw[:19]), strings.Repeat("a", 1600), strings.Repeat("\x40", 9000)} {
		send(t, r.conn, junk, r.to)
	}
	quietFor(t, r.conn)
}

// The data from a client over TCP is bounded before it is buffered.
func TestStreamBounds(t *testing.T) {
	s, _ := server(t, nil)
	for name, junk := range map[string]string{
		"no frame":           "GET / HTTP/1.1\r\n",
		"reserved":           "\x80\x00\x00\x00",
		"a long message":     "\x00\x01\xff\xff",
		"a long ChannelData": "\x40\x00\xff\xff",
	} {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(junk)); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s: %d %v", name, n, err)
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Errorf("%s: the connection is open", name)
		}
		_ = c.Close()
	}
	poll.Until(t, "connections end", func() bool { return s.Counters()["streams"] == 0 })
	var open []net.Conn
	for range 66 {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	poll.Until(t, "the bound of an address", func() bool { return s.Counters()["refused_streams"] == 2 && s.Counters()["streams"] == 64 })
	for _, c := range open {
		_ = c.Close()
	}
}
