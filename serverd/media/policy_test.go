package media

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"secmsg/serverd/limit"
)

func TestPolicyPublic(t *testing.T) {
	p := newPolicy(false, nil)
	p.setOwn([]netip.Addr{netip.MustParseAddr("8.8.4.4"), netip.MustParseAddr("2606:4700::1")})
	for text, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "100.63.255.255": true, "100.128.0.0": true, "172.15.255.255": true, "172.32.0.0": true,
		"192.0.1.0": true, "198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true, "11.0.0.0": true,
		"2606:4700::1111": true, "2a00:1450::1": true, "2002:808:808::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,
		"8.8.4.4": false, "::ffff:8.8.4.4": false, "64:ff9b::808:404": false, "2002:808:404::": false, "2606:4700::1": false,
		"fe80::1%eth0": false, "2606:4700::1111%eth0": false,
	} {
		if got := p.allows(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if p.allows(netip.Addr{}) {
		t.Error("the zero address is accepted as a peer")
	}
}

// In every notation, a peer that leads to an IPv4 address is judged by that address.
func TestPolicyForms(t *testing.T) {
	p := newPolicy(false, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		v4 := netip.AddrFrom4([4]byte{byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())})
		if rnd.IntN(2) == 0 {
			v4 = netip.AddrFrom4([4]byte{[]byte{10, 100, 127, 169, 172, 192, 198, 203}[rnd.IntN(8)], byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())})
		}
		b := v4.As4()
		nat64 := [16]byte{0, 0x64, 0xff, 0x9b, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
		tunnel := [16]byte{0x20, 0x02, b[0], b[1], b[2], b[3], 15: byte(rnd.Uint32())}
		for _, form := range []netip.Addr{netip.AddrFrom16(v4.As16()), netip.AddrFrom16(nat64), netip.AddrFrom16(tunnel)} {
			if p.allows(form) != p.allows(v4) {
				t.Fatalf("%s: %v, %s: %v", form, p.allows(form), v4, p.allows(v4))
			}
		}
	}
}

// The tables of requests and accounts drop unused entries.
func TestSessionBounds(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := newSessions(DefaultLimits(), func() time.Time { return now })
	from := endpoint{addr: netip.MustParseAddrPort("1.1.1.1:1")}
	for i := range maxSeen {
		if !s.original("alice", [20]byte{byte(i), byte(i >> 8)}, from) {
			t.Fatal("refused too early")
		}
	}
	if s.original("alice", [20]byte{19: 1}, from) || !s.original("alice", [20]byte{}, from) || s.original("alice", [20]byte{}, endpoint{stream: true, addr: from.addr}) {
		t.Error("what is seen is not what was sent")
	}
	now = now.Add(MaxLifetime + clockSkew)
	if !s.original("alice", [20]byte{19: 1}, from) {
		t.Error("expired requests are remembered")
	}
	s.drop("bob")
	now = now.Add(MaxLifetime + clockSkew)
	s.prune()
	if len(s.accounts) != 0 || len(s.drops) != 0 {
		t.Errorf("left: %v %v", s.accounts, s.drops)
	}
}

func FuzzGuard(f *testing.F) {
	s, err := New(Options{Realm: "r", Secret: []byte("s"), Listen: "127.0.0.1:0", Limits: Limits{Requests: limit.Rate{Burst: 1 << 30, Every: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	username, password, _ := s.Mint("alice")
	key := stun.NewLongTermIntegrity(username, "r", password)
	for _, method := range []stun.Method{stun.MethodBinding, stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind, stun.MethodConnect, stun.MethodSend} {
		f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(method, stun.ClassRequest), stun.NewUsername(username), stun.NewRealm("r"), key, stun.Fingerprint).Raw, true)
	}
	f.Add([]byte("\x40\x00\x00\x01a"), false)
	f.Add([]byte{}, true)
	from := endpoint{addr: netip.MustParseAddrPort("192.0.2.1:5")}
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if m := (&stun.Message{Raw: append([]byte(nil), b...)}); sign && m.Decode() == nil {
			// An account could send the same, signed.
			out, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), m.Type, attributes(m.Attributes), stun.NewUsername(username), stun.NewRealm("r"), key)
			if err == nil {
				b = out.Raw
			}
		}
		pass, answer := s.guard(append([]byte(nil), b...), from)
		if len(pass) > maxPacket || pass != nil && answer != nil {
			t.Errorf("%d bytes pass, %d are answered", len(pass), len(answer))
		}
		if answer != nil && !stun.IsMessage(answer) {
			t.Errorf("answered %x", answer)
		}
	})
}

type attributes stun.Attributes

// AddTo adds all attributes except those that signing adds.
func (a attributes) AddTo(m *stun.Message) error {
	for _, x := range a {
		switch x.Type {
		case stun.AttrMessageIntegrity, stun.AttrFingerprint, stun.AttrUsername, stun.AttrRealm:
		default:
			m.Add(x.Type, x.Value)
		}
	}
	return nil
}

func FuzzReadFrame(f *testing.F) {
	for _, seed := range []string{"\x00\x01\x00\x00", "\x40\x00\x00\x01abcd", "\x40\x00\xff\xff", "\x80", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame [maxPacket]byte
		r := bytes.NewReader(b)
		for {
			n, err := readFrame(r, frame[:])
			if err != nil {
				return
			}
			if n < channelHeader || n > maxPacket {
				t.Fatalf("a frame of %d bytes", n)
			}
		}
	})
}

func FuzzUsername(f *testing.F) {
	f.Add("1700000000:alice:00")
	f.Add("::")
	f.Add("-1:a:b")
	f.Fuzz(func(t *testing.T, name string) {
		account, expires, err := parseUsername(name)
		if err == nil && (account == "" || expires.Unix() <= 0 || len(name) > maxUsername) {
			t.Errorf("%q: %q %v", name, account, expires)
		}
	})
}

// A machine without a route to the Internet relays from an address that it has.
func TestAnyAddress(t *testing.T) {
	own := []netip.Addr{
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("169.254.1.1"),
		netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("fd00::1"),
	}
	if a := anyAddress(own, true); a != own[4] {
		t.Errorf("IPv4: %v", a)
	}
	if a := anyAddress(own, false); a != own[6] {
		t.Errorf("IPv6: %v", a)
	}
	if a := anyAddress(own[:4], true); a.IsValid() {
		t.Errorf("none: %v", a)
	}
}

// Broadcast addresses of this machine's networks are refused.
func TestBroadcast(t *testing.T) {
	for text, want := range map[string]string{
		"93.184.216.34/24": "93.184.216.0 93.184.216.255", "10.1.2.3/16": "10.1.0.0 10.1.255.255", "9.9.9.9/30": "9.9.9.8 9.9.9.11",
		"9.9.9.9/31": "", "9.9.9.9/32": "", "9.9.9.9/0": "0.0.0.0 255.255.255.255", "2606:4700::1/64": "",
	} {
		p := netip.MustParsePrefix(text)
		var got []string
		for _, a := range broadcastOf(p.Addr(), p.Bits()) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	_, list, err := hostAddresses()
	if err != nil {
		t.Fatal(err)
	}
	var allow []netip.Prefix
	for _, a := range list {
		allow = append(allow, netip.PrefixFrom(a, a.BitLen()))
	}
	s, err := New(Options{Realm: "r", Listen: "127.0.0.1:0", Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.findAddresses(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if s.policy.allows(a) {
			t.Errorf("%v is accepted as a peer", a)
		}
	}
}

// An allocation is refused if its account is dropped while it is being made.
func TestDropMeanwhile(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := newSessions(DefaultLimits(), func() time.Time { return now })
	e := &session{account: "alice", expires: now.Add(MaxLifetime), relay: &relayConn{}}
	s.drop("alice")
	if err := s.add(e); !errors.Is(err, errCredential) || s.len() != 0 {
		t.Errorf("%v, %d allocations", err, s.len())
	}
	e.expires = e.expires.Add(time.Second)
	if err := s.add(e); err != nil {
		t.Error(err)
	}
}
