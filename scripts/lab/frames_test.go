package lab

import (
	"bytes"
	"slices"
	"testing"

	"secmsg/rpc/wire"
)

func envelopes(n int) []*wire.Envelope {
	out := make([]*wire.Envelope, n)
	for i := range out {
		out[i] = &wire.Envelope{MessageId: bytes.Repeat([]byte{byte(i)}, 16), Sender: "alice", Ciphertext: bytes.Repeat([]byte{byte(i)}, 32)}
	}
	return out
}

func ack(t *testing.T, a *ackMap, through uint64) uint64 {
	t.Helper()
	b, err := wire.Marshal(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{Ack: &wire.Ack{Through: through, Steps: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	var f wire.ReplicaClient
	if err := wire.Unmarshal(a.translate(b), &f); err != nil {
		t.Fatal(err)
	}
	if f.GetAck().GetSteps() != 7 {
		t.Error("steps were changed")
	}
	return f.GetAck().GetThrough()
}

// The client's acknowledgement never tells the server more than that everything made from an envelope
// is committed.
func TestAckMap(t *testing.T) {
	var a ackMap
	envs := envelopes(2)
	d := &wire.Deliver{First: 1, Envelopes: envs}
	var f wire.ReplicaServer
	// Three from the first delivery: the client's 1, 2, 3 for the server's 1, 2.
	if err := wire.Unmarshal(a.number(d, []*wire.Envelope{envs[0], envs[0], envs[1]}), &f); err != nil {
		t.Fatal(err)
	}
	if f.GetDeliver().GetFirst() != 1 || len(f.GetDeliver().GetEnvelopes()) != 3 {
		t.Errorf("delivery %v", f.GetDeliver())
	}
	for through, want := range map[uint64]uint64{0: 0, 1: 0, 2: 0, 3: 2} {
		if got := ack(t, &a, through); got != want {
			t.Errorf("client's %d is the server's %d, want %d", through, got, want)
		}
	}
	// Nothing from the second delivery: it counts as acknowledged with the first.
	if b := a.number(&wire.Deliver{First: 3, Envelopes: envs[:1]}, nil); b != nil {
		t.Error("an empty delivery is passed on")
	}
	if got := ack(t, &a, 3); got != 3 {
		t.Errorf("client's 3 is the server's %d, want 3", got)
	}
}

func TestFrameFaults(t *testing.T) {
	all := NewFrameFaults(FrameRates{Duplicate: 1, Flip: 1, Reorder: 1, Drop: 1}, 1)
	envs := envelopes(10)
	out := all.deliver("bob", envs)
	if len(out) != 20 || all.Duplicated.Load() != 10 || all.Flipped.Load() != 10 || all.Reordered.Load() != 1 {
		t.Errorf("%d envelopes, duplicated %d, flipped %d, reordered %d", len(out), all.Duplicated.Load(), all.Flipped.Load(), all.Reordered.Load())
	}
	for i, e := range envs {
		if !bytes.Equal(e.GetCiphertext(), bytes.Repeat([]byte{byte(i)}, 32)) {
			t.Error("the original was changed")
		}
	}
	if out, cut := all.frame(Frame{Data: []byte("x")}); out != nil || !cut {
		t.Error("a frame was not dropped with its connection")
	}
	none := NewFrameFaults(FrameRates{}, 1)
	if got := none.deliver("bob", envs); !slices.Equal(got, envs) {
		t.Error("an honest server changes a delivery")
	}
	if out, cut := none.frame(Frame{Data: []byte("x")}); len(out) != 1 || cut {
		t.Error("an honest server drops a frame")
	}
}

// The same seed gives the same run.
func TestRandFollowsFromSeed(t *testing.T) {
	a, b, other := NewRand(7, "x"), NewRand(7, "x"), NewRand(7, "y")
	same, differs := true, false
	for range 100 {
		v := a.Uint64()
		same = same && v == b.Uint64()
		differs = differs || v != other.Uint64()
	}
	if !same || !differs {
		t.Errorf("same seed: %v, other name: %v", same, differs)
	}
}
