package media_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"secmsg/scripts/poll"
	"secmsg/serverd/limit"
	"secmsg/serverd/media"
)

// forbidden are the peers of attack F6 (crypto/ATTACKS.md) in every notation.
func forbidden() []string {
	return []string{
		"127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "0.1.2.3", "::", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"100.64.0.1", "100.127.255.255", "169.254.1.1", "169.254.169.254", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
		"192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:192.168.1.1",
		"::127.0.0.1", "::ffff:0:127.0.0.1", "::2",
		"64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::6440:1", "64:ff9b::", "64:ff9b:1::7f00:1", "64:ff9b:1::101:101",
		"2002:7f00:1::", "2002:7f00::", "2002:a00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::1",
		"2001::1", "2001:2::1", "2001:10::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1", "4000::1",
		"fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
	}
}

// F6: for every notation of the peer, CreatePermission and ChannelBind are answered with 403, and
// nothing is sent there.
func TestF6(t *testing.T) {
	victim := udp(t) // a service of this host, behind its public address
	public := netip.MustParseAddr("93.184.216.34")
	port := uint16(victim.LocalAddr().(*net.UDPAddr).Port)
	s, _ := server(t, func(o *media.Options) { o.Loopback, o.Public = false, []netip.Addr{public} })
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	peers := forbidden()
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		peers = append(peers, a.(*net.IPNet).IP.String())
	}
	peers = append(peers, public.String()) // at a port without an allocation
	good := peer(netip.MustParseAddrPort("1.1.1.1:53"))
	for i, text := range peers {
		p := peer(netip.AddrPortFrom(netip.MustParseAddr(text), port))
		if code, _ := r.do(stun.MethodCreatePermission, p); code != stun.CodeForbidden {
			t.Errorf("CreatePermission %s: %d", text, code)
		}
		if code, _ := r.do(stun.MethodCreatePermission, good, p); code != stun.CodeForbidden {
			t.Errorf("CreatePermission %s after a valid one: %d", text, code)
		}
		if code, _ := r.do(stun.MethodChannelBind, channel(0x4000+uint16(i)), p); code != stun.CodeForbidden {
			t.Errorf("ChannelBind %s: %d", text, code)
		}
		m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), p, attribute(stun.AttrData, []byte("evil")))
		send(t, r.conn, string(m.Raw), r.to)
	}
	// A permission is for an address, so one without a port must be granted for our own address; then
	// each packet is checked.
	if code, _ := r.do(stun.MethodCreatePermission, peer(netip.AddrPortFrom(public, 0))); code != 0 {
		t.Errorf("own relayed address: %d", code)
	}
	for _, text := range []string{public.String(), "::ffff:" + public.String()} {
		m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
			peer(netip.AddrPortFrom(netip.MustParseAddr(text), port)), attribute(stun.AttrData, []byte("evil")))
		send(t, r.conn, string(m.Raw), r.to)
	}
	poll.Until(t, "the packets are refused", func() bool { return s.Counters()["dropped_peer"] >= 1 })
	quietFor(t, victim)
	if c := s.Counters(); c["packets_to_peers"] != 0 || c["refused_peers"] < int64(3*len(peers)) {
		t.Errorf("%v", c)
	}
	// Public addresses are not refused. IPv6 is the wrong family here, which is checked only after the
	// policy has allowed the peer.
	for text, want := range map[string]stun.ErrorCode{"1.1.1.1": 0, "8.8.8.8": 0, "2606:4700::1111": stun.CodePeerAddrFamilyMismatch, "64:ff9b::101:101": stun.CodePeerAddrFamilyMismatch} {
		if code, _ := r.do(stun.MethodCreatePermission, peer(netip.AddrPortFrom(netip.MustParseAddr(text), 53))); code != want {
			t.Errorf("CreatePermission %s: %d", text, code)
		}
	}
	if code, _ := r.do(stun.MethodChannelBind, channel(0x4fff), peer(netip.MustParseAddrPort("1.1.1.1:53"))); code != 0 {
		t.Errorf("ChannelBind: %d", code)
	}
}

// F6 with the option Loopback: loopback is allowed, and nothing else.
func TestF6LoopbackRealm(t *testing.T) {
	s, _ := server(t, nil)
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	open := map[string]stun.ErrorCode{
		"127.0.0.1": 0, "127.8.9.10": 0, "::ffff:127.0.0.1": 0, // every reader unmaps it
		"::1": stun.CodePeerAddrFamilyMismatch,
	}
	for _, text := range forbidden() {
		want, ok := open[text]
		if !ok {
			want = stun.CodeForbidden
		}
		if code, _ := r.do(stun.MethodCreatePermission, peer(netip.AddrPortFrom(netip.MustParseAddr(text), 99))); code != want {
			t.Errorf("%s: %d", text, code)
		}
	}
}

// A network allowed by the operator can be reached; this host's own address in it cannot.
func TestAllowedNetwork(t *testing.T) {
	s, _ := server(t, func(o *media.Options) {
		o.Loopback, o.Public = false, []netip.Addr{netip.MustParseAddr("10.1.2.3")}
		o.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}
	})
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	for text, want := range map[string]stun.ErrorCode{
		"10.1.9.9": 0, "169.254.7.7": 0, "10.2.0.1": stun.CodeForbidden, "10.1.2.3": stun.CodeForbidden,
		"127.0.0.1": stun.CodeForbidden, "169.254.169.254": stun.CodeForbidden,
	} {
		if code, _ := r.do(stun.MethodCreatePermission, peer(netip.AddrPortFrom(netip.MustParseAddr(text), 99))); code != want {
			t.Errorf("%s: %d", text, code)
		}
	}
	if p := s.Problems(); len(p) != 0 {
		t.Errorf("a warning about an address in the operator's own network: %v", p)
	}
}

// F8: credentials that are invalid for an allocation.
func TestF8Credentials(t *testing.T) {
	s, clock := server(t, nil)
	good, password, expires := s.Mint("alice")
	if expires.After(clock.Now().Add(10*time.Minute)) || !expires.After(clock.Now()) {
		t.Errorf("good until %v", expires)
	}
	mint := func(secret string, life time.Duration) (string, string) {
		u, p, _ := media.Mint([]byte(secret), "alice", clock.Now(), life)
		return u, p
	}
	replayed := strings.Replace(good, ":alice:", ":bob:", 1)
	later := strings.Replace(good, fmt.Sprint(expires.Unix()), fmt.Sprint(expires.Unix()+60), 1)
	past, pastPassword := mint("secret", -time.Second)
	now, nowPassword := mint("secret", 0)
	long, longPassword := mint("secret", 12*time.Minute)
	other, otherPassword := mint("another", time.Minute)
	for name, c := range map[string][3]string{
		"expired":             {past, pastPassword, realm},
		"just expired":        {now, nowPassword, realm},
		"good for too long":   {long, longPassword, realm},
		"another secret":      {other, otherPassword, realm},
		"another realm":       {good, password, "elsewhere.example.com"},
		"another account":     {replayed, password, realm},
		"a later expiry":      {later, password, realm},
		"no password":         {good, "", realm},
		"no random part":      {strings.Join(strings.Split(good, ":")[:2], ":"), password, realm},
		"no account":          {fmt.Sprint(expires.Unix()), password, realm},
		"nothing":             {"::", password, realm},
		"a username too long": {good + strings.Repeat("0", 200), password, realm},
	} {
		r := newRaw(t, s, c[0], c[1])
		r.realm, r.key = c[2], turn.GenerateAuthKey(c[0], c[2], c[1])
		if code, _ := r.do(stun.MethodAllocate, transport(17)); code != stun.CodeUnauthorized {
			t.Errorf("%s: %d", name, code)
		}
	}
	r := newRaw(t, s, good, password)
	first := r.request(stun.MethodAllocate, transport(17))
	r.nonce = stun.NewNonce("0123456789abcdef")
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != stun.CodeStaleNonce {
		t.Errorf("a made-up nonce: %d", code)
	}
	if n := s.Counters()["allocations"]; n != 0 {
		t.Errorf("%d allocations", n)
	}
	if m := r.exchange(first); m == nil || m.Type.Class != stun.ClassSuccessResponse {
		t.Errorf("good ones: %v", m)
	}
	if m := r.exchange(first); m == nil || m.Type.Class != stun.ClassSuccessResponse {
		t.Errorf("sent twice by a client that lost the answer: %v", m)
	}
	// An eavesdropper sends the message again from another address.
	replay := newRaw(t, s, good, password)
	if m := replay.exchange(first); m == nil || m.Type.Class != stun.ClassErrorResponse || s.Counters()["allocations"] != 1 {
		t.Errorf("replayed: %v", m)
	}
}

// F8: an account's simultaneous allocations are bounded.
func TestF8Quota(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Limits.Total = 7 })
	one := func(account string) (*raw, stun.ErrorCode) {
		username, password, _ := s.Mint(account)
		r := newRaw(t, s, username, password)
		code, _ := r.do(stun.MethodAllocate, transport(17))
		return r, code
	}
	var last *raw
	for i := range 5 {
		r, code := one("alice")
		if code != 0 {
			t.Fatalf("allocation %d: %d", i, code)
		}
		last = r
	}
	if _, code := one("alice"); code != stun.CodeAllocQuotaReached {
		t.Errorf("a sixth: %d", code)
	}
	for range 2 {
		if _, code := one("bob"); code != 0 {
			t.Errorf("another account: %d", code)
		}
	}
	if _, code := one("carol"); code != stun.CodeAllocQuotaReached {
		t.Errorf("the server is full: %d", code)
	}
	if code, m := last.do(stun.MethodRefresh, lifetime(0)); code != 0 || granted(t, m) != 0 {
		t.Errorf("end: %d", code)
	}
	if _, code := one("alice"); code != 0 {
		t.Errorf("after one ended: %d", code)
	}
	if n := s.Counters()["refused_quota"]; n != 2 {
		t.Errorf("%d refused", n)
	}
}

// F8: no refresh grants more than ten minutes, whatever lifetime is requested.
func TestF8Lifetime(t *testing.T) {
	s, _ := server(t, nil)
	for _, asked := range []uint32{601, 3000, 3599, 3600, 1 << 31} {
		username, password, _ := s.Mint("alice")
		r := newRaw(t, s, username, password)
		code, m := r.do(stun.MethodAllocate, transport(17), lifetime(asked))
		if code != 0 || granted(t, m) != 600 {
			t.Errorf("allocate for %d s: %d %v", asked, code, m)
		}
		if code, m := r.do(stun.MethodRefresh, lifetime(asked)); code != 0 || granted(t, m) != 600 {
			t.Errorf("refresh for %d s: %d %v", asked, code, m)
		}
		if code, m := r.do(stun.MethodRefresh, lifetime(60)); code != 0 || granted(t, m) != 60 {
			t.Errorf("refresh for a minute: %d %v", code, m)
		}
		if code, _ := r.do(stun.MethodRefresh, lifetime(0)); code != 0 {
			t.Errorf("end: %d", code)
		}
	}
	short, _ := server(t, func(o *media.Options) { o.Limits.Lifetime = time.Minute })
	username, password, _ := short.Mint("alice")
	if code, m := newRaw(t, short, username, password).do(stun.MethodAllocate, transport(17), lifetime(120)); code != 0 || granted(t, m) != 60 {
		t.Errorf("a shorter limit: %d %v", code, m)
	}
}

// F8: credentials expire while the server runs. They are only for starting: an allocation continues for
// the same client, for at most a day, and for nobody else.
func TestF8ExpiryAtRuntime(t *testing.T) {
	s, clock := server(t, nil)
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	fresh, freshPassword, _ := s.Mint("alice")
	other := *r
	other.username, other.key = fresh, turn.GenerateAuthKey(fresh, realm, freshPassword)
	if code, _ := other.do(stun.MethodRefresh); code == 0 {
		t.Error("other credentials of the account refresh the allocation")
	}
	clock.Advance(11 * time.Minute)
	if code, _ := newRaw(t, s, username, password).do(stun.MethodAllocate, transport(17)); code != stun.CodeUnauthorized {
		t.Errorf("allocate with expired credentials: %d", code)
	}
	if code, m := r.do(stun.MethodRefresh); code != 0 || granted(t, m) != 600 {
		t.Errorf("refresh: %d", code)
	}
	if code, _ := r.do(stun.MethodCreatePermission, peer(netip.MustParseAddrPort("127.0.0.1:9"))); code != 0 {
		t.Errorf("permission: %d", code)
	}
	clock.Advance(24 * time.Hour)
	if code, _ := r.do(stun.MethodRefresh); code != stun.CodeUnauthorized {
		t.Errorf("refresh after a day: %d", code)
	}
}

// A dropped account loses its allocations and credentials, and can return with new credentials.
func TestDrop(t *testing.T) {
	s, clock := server(t, nil)
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	bob := allocate(t, s, "udp", "bob")
	s.Drop("alice")
	poll.Until(t, "its allocation ends", func() bool { return s.Counters()["allocations"] == 1 })
	if code, _ := r.do(stun.MethodRefresh); code != stun.CodeUnauthorized {
		t.Errorf("refresh: %d", code)
	}
	if code, _ := newRaw(t, s, username, password).do(stun.MethodAllocate, transport(17)); code != stun.CodeUnauthorized {
		t.Errorf("allocate: %d", code)
	}
	clock.Advance(time.Second)
	allocate(t, s, "udp", "alice")
	_ = bob.Close()
}

// If the lifetime of credentials is shorter than the maximum, new ones are valid again that much
// sooner.
func TestDropShortLife(t *testing.T) {
	s, clock := server(t, func(o *media.Options) { o.Limits.Lifetime = time.Minute })
	username, password, _ := s.Mint("alice")
	s.Drop("alice")
	if code, _ := newRaw(t, s, username, password).do(stun.MethodAllocate, transport(17)); code != stun.CodeUnauthorized {
		t.Errorf("old ones: %d", code)
	}
	clock.Advance(time.Second)
	allocate(t, s, "udp", "alice")
}

// F9: TCP is not relayed, in none of the forms of RFC 6062.
func TestF9(t *testing.T) {
	s, _ := server(t, nil)
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(6)); code != stun.CodeUnsupportedTransProto {
		t.Errorf("allocate TCP: %d", code)
	}
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	target := netip.MustParseAddrPort(l.Addr().String())
	if code, _ := r.do(stun.MethodConnect, peer(target)); code != stun.CodeForbidden {
		t.Errorf("connect: %d", code)
	}
	if code, _ := r.do(stun.MethodConnectionBind, attribute(stun.AttrConnectionID, []byte{1, 2, 3, 4})); code != stun.CodeForbidden {
		t.Errorf("connection bind: %d", code)
	}
	// The same by a client that uses TCP.
	username, password, _ = s.Mint("bob")
	if _, err := dial(t, "tcp", s.Addr().String(), username, password).AllocateTCP(); err == nil {
		t.Error("pion's client allocates TCP")
	}
	if n := s.Counters()["refused_tcp_relay"]; n != 4 {
		t.Errorf("%d refused", n)
	}
	// Reserved and even ports are not supported.
	r = newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17), attribute(stun.AttrEvenPort, []byte{0x80})); code != stun.CodeInsufficientCapacity {
		t.Errorf("even port: %d", code)
	}
	if code, _ := r.do(stun.MethodAllocate, transport(17), attribute(stun.AttrReservationToken, []byte("12345678"))); code != stun.CodeInsufficientCapacity {
		t.Errorf("reservation: %d", code)
	}
}

// The memory of one allocation is bounded.
func TestPermissionBounds(t *testing.T) {
	s, _ := server(t, nil)
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}), 9) }
	for i := range 64 {
		if code, _ := r.do(stun.MethodChannelBind, channel(0x4000+uint16(i)), peer(at(i))); code != 0 {
			t.Fatalf("channel %d: %d", i, code)
		}
	}
	if code, _ := r.do(stun.MethodChannelBind, channel(0x4100), peer(at(64))); code != stun.CodeInsufficientCapacity {
		t.Errorf("one more channel: %d", code)
	}
	var many []stun.Setter
	for i := range 65 {
		many = append(many, peer(at(64+i)))
	}
	if code, _ := r.do(stun.MethodCreatePermission, many...); code != stun.CodeInsufficientCapacity {
		t.Errorf("one permission too many: %d", code)
	}
	if code, _ := r.do(stun.MethodCreatePermission, many[:64]...); code != 0 {
		t.Errorf("as many as allowed: %d", code)
	}
	// Existing permissions can be refreshed.
	if code, _ := r.do(stun.MethodCreatePermission, many[:64]...); code != 0 {
		t.Errorf("permissions once more: %d", code)
	}
	if code, _ := r.do(stun.MethodChannelBind, channel(0x4000), peer(at(0))); code != 0 {
		t.Errorf("a channel once more: %d", code)
	}
	if code, _ := r.do(stun.MethodCreatePermission, peer(at(200))); code != stun.CodeInsufficientCapacity {
		t.Errorf("one more: %d", code)
	}
}

// A client's address may have one TCP connection, even on a machine with several addresses: the limits
// of an allocation are found by the client's address.
func TestSameClientTwice(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Listen = ":0" })
	port := int(s.Addr().Port())
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, Control: reuse}
	first, err := d.Dial("tcp4", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	poll.Until(t, "the first is taken", func() bool { return s.Counters()["streams"] == 1 })
	d.LocalAddr = first.LocalAddr()
	second, err := d.Dial("tcp4", fmt.Sprint("127.0.0.2:", port))
	if err != nil {
		t.Skipf("SKIPPED: this system does not let a client have one port twice: %v", err)
	}
	defer second.Close()
	poll.Until(t, "the second is refused", func() bool { return s.Counters()["refused_streams"] == 1 })
	if n := s.Counters()["streams"]; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// The server survives everything that an account signs and a stranger sends.
func TestHostilePackets(t *testing.T) {
	s, _ := server(t, func(o *media.Options) { o.Limits.Requests = limit.Rate{Burst: 1 << 30, Every: 1} })
	username, password, _ := s.Mint("alice")
	r := newRaw(t, s, username, password)
	if code, _ := r.do(stun.MethodAllocate, transport(17)); code != 0 {
		t.Fatalf("allocate: %d", code)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	methods := []stun.Method{stun.MethodBinding, stun.MethodAllocate, stun.MethodRefresh, stun.MethodSend, stun.MethodData,
		stun.MethodCreatePermission, stun.MethodChannelBind, stun.MethodConnect, stun.MethodConnectionBind, 0xfff}
	kinds := []stun.AttrType{stun.AttrXORPeerAddress, stun.AttrData, stun.AttrLifetime, stun.AttrChannelNumber, stun.AttrRequestedTransport,
		stun.AttrRequestedAddressFamily, stun.AttrEvenPort, stun.AttrReservationToken, stun.AttrDontFragment, stun.AttrXORMappedAddress,
		stun.AttrErrorCode, stun.AttrUnknownAttributes, stun.AttrConnectionID, stun.AttrNonce, stun.AttrRealm, stun.AttrUsername, 0x7fff}
	for i := range 5000 {
		var more []stun.Setter
		for range rnd.IntN(5) {
			v := make([]byte, []int{0, 1, 3, 4, 5, 8, 19, 20, 21, 200}[rnd.IntN(10)])
			for j := range v {
				v[j] = byte(rnd.Uint32())
			}
			if len(v) > 1 && rnd.IntN(2) == 0 {
				v[0], v[1] = 0, byte(rnd.IntN(4)) // a family
			}
			more = append(more, attribute(kinds[rnd.IntN(len(kinds))], v))
		}
		method := methods[rnd.IntN(len(methods))]
		m := r.request(method, more...)
		if rnd.IntN(4) == 0 {
			m = stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.MessageClass(rnd.IntN(4)))}, more...)...)
		}
		b := m.Raw
		switch rnd.IntN(6) {
		case 0:
			b = b[:rnd.IntN(len(b)+1)]
		case 1:
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		}
		if rnd.IntN(3) == 0 {
			send(t, udp(t), string(b), r.to)
		} else {
			send(t, r.conn, string(b), r.to)
		}
		if i%500 == 0 {
			// The messages of a stream are split differently, and an invalid stream is closed.
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write(b) // it may be closed already
			_ = c.Close()
		}
	}
	if err := s.Test(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.Counters()["failed_packets"]; n != 0 {
		t.Errorf("%d packets were sent to nowhere", n)
	}
}
