package media

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

func numbered(seq uint16) *rtp.Packet { return &rtp.Packet{Header: rtp.Header{SequenceNumber: seq}} }

// popAll returns the sequence numbers that are due, and the number given up.
func popAll(j *jitter, now time.Time) (got []uint16, lost int) {
	for {
		p, n := j.pop(now)
		if p == nil {
			return got, lost
		}
		lost += n
		got = append(got, p.SequenceNumber)
	}
}

func TestJitterOrdersAcrossTheWrap(t *testing.T) {
	j := newJitter(time.Second)
	now := time.Unix(1000, 0)
	random := rand.New(rand.NewPCG(1, 1))
	next := uint16(65000)
	j.push(numbered(next), now)
	var got []uint16
	for base := uint16(65001); base != 2001-1; base += 10 {
		for _, i := range random.Perm(10) {
			j.push(numbered(base+uint16(i)), now)
			j.push(numbered(base+uint16(i)), now) // a duplicate
		}
		out, lost := popAll(j, now)
		if lost != 0 {
			t.Fatalf("%d lost", lost)
		}
		got = append(got, out...)
		if base == 1991 {
			break
		}
	}
	for _, seq := range got {
		if seq != next {
			t.Fatalf("got %d, want %d", seq, next)
		}
		next++
	}
	if len(got) < 1000 {
		t.Fatalf("%d packets", len(got))
	}
}

func TestJitterWaitsWithinBounds(t *testing.T) {
	j := newJitter(time.Second)
	now := time.Unix(1000, 0)
	j.push(numbered(1), now)
	j.push(numbered(3), now)
	if got, _ := popAll(j, now); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	if got, _ := popAll(j, now.Add(999*time.Millisecond)); len(got) != 0 {
		t.Fatalf("did not wait: %v", got)
	}
	if got, lost := popAll(j, now.Add(time.Second)); len(got) != 1 || lost != 1 {
		t.Fatalf("%v, %d lost", got, lost)
	}
	j.push(numbered(2), now.Add(time.Second))
	if got, _ := popAll(j, now.Add(time.Hour)); len(got) != 0 {
		t.Fatalf("a packet that was given up came out: %v", got)
	}
	for i := range 4 * jitterPackets { // packet 4 never arrives
		j.push(numbered(uint16(5+i)), now)
		popAll(j, now)
		if len(j.packets) > jitterPackets {
			t.Fatalf("%d packets wait", len(j.packets))
		}
	}
}

func TestClockTakesTheEarliestReport(t *testing.T) {
	c := clock{rate: 48000}
	base := time.Unix(1_700_000_000, 0)
	ntp := func(at time.Time) uint64 {
		return uint64(at.Unix()+ntpEpoch)<<32 | uint64(at.Nanosecond())<<32/uint64(time.Second)
	}
	report := func(at time.Duration, timestamp uint32) {
		c.report(&rtcp.SenderReport{NTPTime: ntp(base.Add(at)), RTPTime: timestamp})
	}
	if _, ok := c.at(0); ok {
		t.Fatal("known before a report")
	}
	report(100*time.Millisecond, 0) // written 100 ms late
	report(time.Second, 48000)      // on time
	report(2200*time.Millisecond, 96000)
	at, ok := c.at(96000 + 4800)
	if want := base.Add(2100 * time.Millisecond); !ok || at.Sub(want).Abs() > time.Microsecond {
		t.Errorf("%s, want %s", at, want)
	}
	report(time.Hour, 144000) // its clock was set
	if at, _ := c.at(144000); at.Sub(base.Add(time.Hour)).Abs() > time.Microsecond {
		t.Errorf("a set clock was not followed: %s", at)
	}
}

func TestTimelineIsBounded(t *testing.T) {
	tl := &timeline{}
	now := time.Unix(1000, 0)
	tl.place(now, now)
	if at := tl.place(now.Add(1e6*time.Hour), now.Add(time.Second)); at > time.Second+ahead {
		t.Errorf("a report moved the end of a file to %s", at)
	}
	if at := tl.place(now.Add(-time.Hour), now); at != 0 {
		t.Errorf("before the beginning: %s", at)
	}
}

func TestSilenceLasts(t *testing.T) {
	for _, d := range []time.Duration{2500 * time.Microsecond, 5e6, 10e6, 20e6, 40e6, 60e6, 120e6} {
		if got := packetSpan(silence(d)); got != d {
			t.Errorf("silence of %s lasts %s", d, got)
		}
	}
}
