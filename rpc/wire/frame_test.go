package wire

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestFrameRoundTrip(t *testing.T) {
	f := &ContactClient{Frame: &ContactClient_Send{Send: &Send{Steps: 7}}}
	for i := range MaxBatch {
		f.GetSend().Envelopes = append(f.GetSend().Envelopes, &Outgoing{Seq: uint64(i + 1), MessageId: make([]byte, 16),
			Class: Class_CLASS_DURABLE, Recipient: "bob", Device: make([]byte, 16), ManifestVersion: 1, ExpiresMs: 1,
			Ciphertext: []byte("x")})
	}
	b, err := Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var got ContactClient
	if err := Unmarshal(b, &got); err != nil || !proto.Equal(f, &got) {
		t.Fatalf("round trip: %v", err)
	}
}

func TestFrameLimits(t *testing.T) {
	big := &ReplicaServer{Frame: &ReplicaServer_Deliver{Deliver: &Deliver{Envelopes: []*Envelope{{Ciphertext: make([]byte, MaxFrame)}}}}}
	if _, err := Marshal(big); err == nil {
		t.Error("a frame over the limit was encoded")
	}
	raw, err := proto.Marshal(big)
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal(raw, &ReplicaServer{}); err == nil {
		t.Error("a frame over the limit was decoded")
	}
	// 60,000 empty items of two bytes each (attack E6, crypto/ATTACKS.md): refused before one is
	// allocated.
	items := bytes.Repeat(append(protowire.AppendTag(nil, 1, protowire.BytesType), 0), 60000)
	frame := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), items)
	if n := testing.AllocsPerRun(5, func() {
		if Unmarshal(frame, &ContactClient{}) == nil {
			t.Fatal("60,000 items were decoded")
		}
	}); n > 50 {
		t.Errorf("%v allocations for a refused frame", n)
	}
}

func FuzzUnmarshal(f *testing.F) {
	b, err := Marshal(&ContactServer{Frame: &ContactServer_Result{Result: &SendResult{Accepted: []uint64{1, 2},
		Rejected: []*Rejected{{Seq: 3, Reason: Reason_REASON_BLOCKED, Final: true}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = Unmarshal(b, &ContactClient{})
		_ = Unmarshal(b, &ContactServer{})
		_ = Unmarshal(b, &ReplicaClient{})
		_ = Unmarshal(b, &ReplicaServer{})
	})
}
