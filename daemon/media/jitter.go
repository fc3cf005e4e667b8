package media

import (
	"time"

	"github.com/pion/rtp"
)

const (
	// waitLive is how long to wait for a missing packet if a sink is live: one
	// retransmission over usual distances.
	waitLive = 250 * time.Millisecond
	// waitRecording allows several retransmissions with a round trip of 400 ms.
	waitRecording = 1500 * time.Millisecond
	// jitterPackets bounds the buffer: two seconds of 4 Mbit/s.
	jitterPackets = 1024
)

// jitter sorts packets and waits, within bounds, for missing ones. It belongs to one
// goroutine.
//
// pion's samplebuilder (402 lines) and jitterbuffer do not fit: a stream here waits a
// different time for a live sink than for a recording, asks for a key frame when it gives
// up, and its payloads are sealed, so nothing inside them can tell where a frame ends.
type jitter struct {
	wait    time.Duration
	started bool
	next    uint64 // extended sequence number of the next packet
	packets map[uint64]arrived
	newest  uint64
}

type arrived struct {
	packet *rtp.Packet
	at     time.Time
}

func newJitter(wait time.Duration) *jitter {
	return &jitter{wait: wait, packets: map[uint64]arrived{}}
}

// push adds a packet with a decrypted payload.
func (j *jitter) push(p *rtp.Packet, now time.Time) {
	n := j.extend(p.SequenceNumber)
	if !j.started {
		j.started, j.next, j.newest = true, n, n
	}
	if n < j.next {
		return // too late
	}
	j.newest = max(j.newest, n)
	j.packets[n] = arrived{p, now}
}

// extend returns the extended sequence number that is nearest to the newest one.
func (j *jitter) extend(seq uint16) uint64 {
	if !j.started {
		return 1<<16 + uint64(seq) // leave room below for packets that arrive late
	}
	return uint64(int64(j.newest) + int64(int16(seq-uint16(j.newest))))
}

// pop returns the next packet in order, and how many before it are given up. It returns nil
// if there is none, or if the next one is still worth waiting for.
func (j *jitter) pop(now time.Time) (p *rtp.Packet, lost int) {
	if len(j.packets) == 0 {
		return nil, 0
	}
	if a, ok := j.packets[j.next]; ok {
		delete(j.packets, j.next)
		j.next++
		return a.packet, 0
	}
	first, oldest := j.newest, now
	for n, a := range j.packets {
		first = min(first, n)
		if a.at.Before(oldest) {
			oldest = a.at
		}
	}
	if len(j.packets) < jitterPackets && now.Sub(oldest) < j.wait {
		return nil, 0
	}
	lost = int(first - j.next)
	a := j.packets[first]
	delete(j.packets, first)
	j.next = first + 1
	return a.packet, lost
}
