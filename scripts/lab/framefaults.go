package lab

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"secmsg/rpc/wire"
)

// FrameRates are the probabilities, from 0 to 1, of the faults that a hostile server applies to an
// envelope or frame.
type FrameRates struct {
	// Duplicate delivers an envelope twice.
	Duplicate float64
	// Reorder shuffles the envelopes of one delivery.
	Reorder float64
	// Drop loses a frame in either direction. A connection that lost a frame is closed, because TCP
	// delivers everything or ends: a real network loses nothing else, and a server that hides a frame
	// for good has simply not delivered.
	Drop float64
	// Flip changes one bit of a ciphertext on its way to the device.
	Flip float64
}

// FrameFaults creates hooks that apply random faults, and counts them.
type FrameFaults struct {
	Duplicated, Reordered, Dropped, Flipped atomic.Int64

	rates FrameRates // constant
	rng   *rand.Rand // used by hooks only, which run one at a time
}

// NewFrameFaults returns faults that are determined by seed.
func NewFrameFaults(rates FrameRates, seed uint64) *FrameFaults {
	return &FrameFaults{rates: rates, rng: NewRand(seed, "frames")}
}

// Hooks returns hooks for one FrameProxy.
func (f *FrameFaults) Hooks() FrameHooks {
	return FrameHooks{Deliver: f.deliver, Frame: f.frame}
}

func (f *FrameFaults) chance(rate float64) bool { return rate > 0 && f.rng.Float64() < rate }

func (f *FrameFaults) frame(fr Frame) ([][]byte, bool) {
	if f.chance(f.rates.Drop) {
		f.Dropped.Add(1)
		return nil, true
	}
	return [][]byte{fr.Data}, false
}

func (f *FrameFaults) deliver(_ string, envs []*wire.Envelope) []*wire.Envelope {
	out := make([]*wire.Envelope, 0, len(envs))
	for _, e := range envs {
		if f.chance(f.rates.Flip) && len(e.GetCiphertext()) > 0 {
			f.Flipped.Add(1)
			e = Corrupt(e, f.rng.IntN(8*len(e.GetCiphertext())))
		}
		out = append(out, e)
		if len(out) < wire.MaxBatch && f.chance(f.rates.Duplicate) {
			f.Duplicated.Add(1)
			out = append(out, e)
		}
	}
	if len(out) > 1 && f.chance(f.rates.Reorder) {
		f.Reordered.Add(1)
		f.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// Corrupt returns a copy of an envelope with one bit of its ciphertext changed.
func Corrupt(e *wire.Envelope, bit int) *wire.Envelope {
	c := CopyEnvelope(e)
	c.Ciphertext[bit/8] ^= 1 << (bit % 8)
	return c
}

// CopyEnvelope returns a copy with its own ciphertext and id.
func CopyEnvelope(e *wire.Envelope) *wire.Envelope {
	return &wire.Envelope{
		MessageId: slices.Clone(e.GetMessageId()), Class: e.GetClass(), Sender: e.GetSender(), SenderDevice: e.GetSenderDevice(),
		AcceptedMs: e.GetAcceptedMs(), ExpiresMs: e.GetExpiresMs(), Ciphertext: slices.Clone(e.GetCiphertext()), Notice: e.GetNotice(),
	}
}
