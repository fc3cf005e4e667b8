package media

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pion/transport/v5/vnet"
)

// FuzzAccept passes an offer and a candidate of a peer that sends garbage through the
// ratchet: the session rejects or answers them, and the answer contains no address of this
// host.
func FuzzAccept(f *testing.F) {
	host := func(t testing.TB) *vnet.Net {
		n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{"198.51.100.77"}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	tone, err := newTone()
	if err != nil {
		f.Fatal(err)
	}
	caller, err := NewSession(Options{net: host(f)}, Caller, Sources{Audio: tone}, null())
	if err != nil {
		f.Fatal(err)
	}
	offer, print, err := caller.Offer(context.Background())
	if err := errors.Join(err, caller.Close()); err != nil {
		f.Fatal(err)
	}
	candidate := "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"
	f.Add(offer, candidate)
	for _, line := range []string{"a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=setup:", "a=rtpmap:", "a=fmtp:", "a=group:", "a=ssrc:", "a=extmap:", "a=rtcp-mux", "a=sendrecv"} {
		f.Add(strings.ReplaceAll(offer, line, "a=x:"), candidate)
		f.Add(strings.ReplaceAll(offer, line, line+"4294967296 -1 "), candidate)
		f.Add(strings.ReplaceAll(offer, line, "a=simulcast:send 1;2\r\na=rid:1 send\r\n"+line), candidate)
	}
	for _, c := range []string{
		"candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active", "candidate:1 1 udp 1 evil.example.com 5000 typ host",
		"candidate:1 1 udp 1 0a0a.local 5000 typ host", "candidate:1 1 udp 99999999999999999999 192.0.2.1 70000 typ relay raddr x rport y",
		"candidate:1 1 udp 1 ::ffff:127.0.0.1 5000 typ host generation 0 ufrag x network-cost 1",
	} {
		f.Add(offer, c)
	}
	f.Fuzz(func(t *testing.T, offer, candidate string) {
		s, err := NewSession(Options{net: host(t), RelayOnly: true}, Callee, Sources{}, null())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for e := range s.Events() {
				if c, ok := e.(Candidate); ok {
					t.Errorf("an address leaves: %s", c.SDP)
				}
			}
		}()
		answer, _, err := s.Accept(context.Background(), offer, print)
		if err != nil && !errors.Is(err, ErrSignal) && !errors.Is(err, ErrRefused) {
			t.Errorf("accept: %v", err)
		}
		if strings.Contains(answer, "candidate") || strings.Contains(answer, "198.51.100.77") {
			t.Errorf("the answer has an address:\n%s", answer)
		}
		if err := s.AddCandidate(candidate); err != nil && !errors.Is(err, ErrSignal) {
			t.Errorf("candidate: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}
