package e2e

import (
	"errors"
	"strings"
	"testing"
)

func callOf(c *Call) *Content {
	c.Id = make([]byte, IDSize)
	return &Content{Kind: Kind_KIND_CALL, Body: &Content_Call{Call: c}}
}

func offer(change ...func(*CallOffer)) *Call {
	o := &CallOffer{Sdp: "v=0", Secret: make([]byte, 32), Fingerprint: make([]byte, 32), Audio: true, RingMs: 60_000}
	for _, f := range change {
		f(o)
	}
	return &Call{What: &Call_Offer{Offer: o}}
}

func candidates(n int) *Call {
	c := new(CallCandidates)
	for range n {
		c.Candidates = append(c.Candidates, "candidate:1 1 udp 1 192.0.2.1 9 typ host")
	}
	return &Call{What: &Call_Candidates{Candidates: c}}
}

func callEnd(r CallReason) *Call { return &Call{What: &Call_End{End: &CallEnd{Reason: r}}} }

func restart(generation uint32, sdp string) *Call {
	return &Call{What: &Call_Restart{Restart: &CallRestart{Generation: generation, Sdp: sdp}}}
}

// Every signal is checked against its bounds before anything acts on it.
func TestCallSignals(t *testing.T) {
	answer := func(secret int) *Call {
		return &Call{What: &Call_Answer{Answer: &CallAnswer{Sdp: "v=0", Secret: make([]byte, secret), Fingerprint: make([]byte, 32)}}}
	}
	for _, tc := range []struct {
		name string
		c    *Content
		ok   bool
	}{
		{"offer", callOf(offer()), true},
		{"largest offer", callOf(offer(func(o *CallOffer) { o.Sdp = strings.Repeat("x", MaxSDP) })), true},
		{"offer too large", callOf(offer(func(o *CallOffer) { o.Sdp = strings.Repeat("x", MaxSDP+1) })), false},
		{"offer without sdp", callOf(offer(func(o *CallOffer) { o.Sdp = "" })), false},
		{"offer with a short secret", callOf(offer(func(o *CallOffer) { o.Secret = o.Secret[1:] })), false},
		{"offer without fingerprint", callOf(offer(func(o *CallOffer) { o.Fingerprint = nil })), false},
		{"offer that rings for hours", callOf(offer(func(o *CallOffer) { o.RingMs = 1 << 31 })), false},
		{"offer that does not ring", callOf(offer(func(o *CallOffer) { o.RingMs = 0 })), false},
		{"ringing", callOf(&Call{What: &Call_Ringing{Ringing: &CallRinging{}}}), true},
		{"answer", callOf(answer(32)), true},
		{"answer with a long secret", callOf(answer(33)), false},
		{"no candidates", callOf(candidates(0)), true},
		{"most candidates", callOf(candidates(MaxCandidates)), true},
		{"too many candidates", callOf(candidates(MaxCandidates + 1)), false},
		{"empty candidate", callOf(&Call{What: &Call_Candidates{Candidates: &CallCandidates{Candidates: []string{""}}}}), false},
		{"long candidate", callOf(&Call{What: &Call_Candidates{Candidates: &CallCandidates{Candidates: []string{strings.Repeat("c", MaxCandidate+1)}}}}), false},
		{"restart", callOf(restart(1, "v=0")), true},
		{"wish for a restart", callOf(restart(0, "")), true},
		{"restart without sdp", callOf(restart(1, "")), false},
		{"restart without generation", callOf(restart(0, "v=0")), false},
		{"restart far ahead", callOf(restart(MaxGeneration+1, "v=0")), false},
		{"end", callOf(callEnd(CallReason_CALL_REASON_HANGUP)), true},
		{"end for a reason of the future", callOf(callEnd(99)), true},
		{"end without reason", callOf(callEnd(0)), false},
		{"nothing", callOf(&Call{}), false},
		{"no signal", &Content{Kind: Kind_KIND_CALL}, false},
		{"short id", &Content{Kind: Kind_KIND_CALL, Body: &Content_Call{Call: &Call{Id: []byte{1}, What: offer().What}}}, false},
		{"counted", &Content{Kind: Kind_KIND_CALL, N: 1, Body: callOf(offer()).Body}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := Marshal(tc.c)
			if (err == nil) != tc.ok {
				t.Fatalf("Marshal: %v", err)
			}
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("Marshal: %v", err)
				}
				return
			}
			if _, err := Unmarshal(b); err != nil {
				t.Fatal(err)
			}
		})
	}
}
