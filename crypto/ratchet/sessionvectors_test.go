package ratchet

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// sessionVectors are the rules of SPEC "Simultaneous initiation" as tables.
type sessionVectors struct {
	Comment string `json:"comment"`
	// Own: the generation that an initiator gives to a new session.
	Own []struct {
		Now        int64    `json:"now"`
		Known      []uint32 `json:"known"`
		Generation uint32   `json:"generation"`
	} `json:"own"`
	// Accepted: the generations that a receiver accepts.
	Accepted []struct {
		Now        int64  `json:"now"`
		Generation uint32 `json:"generation"`
		OK         bool   `json:"ok"`
	} `json:"accepted"`
	// Preferred: which of two sessions sends, the first (0) or the second (1).
	Preferred []struct {
		Now         int64       `json:"now"`
		Generations [2]uint32   `json:"generations"`
		IDs         [2]hexBytes `json:"ids"`
		Preferred   int         `json:"preferred"`
	} `json:"preferred"`
}

// The table is written by hand below; other implementations read the file.
func sessionTable() (v sessionVectors) {
	v.Comment = `crypto/SPEC.md "Simultaneous initiation": generations are minutes since 1970, now is in seconds.`
	const now, minute = 1772366459, 1772366459 / 60
	for _, x := range []struct {
		known []uint32
		want  uint32
	}{
		{[]uint32{}, minute}, {[]uint32{minute - 5}, minute}, {[]uint32{minute - 1}, minute}, {[]uint32{minute}, minute + 1},
		{[]uint32{minute + 7, minute + 3}, minute + 8}, {[]uint32{minute + 59}, minute + 60}, {[]uint32{minute + 60}, minute + 60},
		{[]uint32{minute + 120}, minute + 60}, {[]uint32{math.MaxUint32}, minute + 60},
	} {
		v.Own = append(v.Own, struct {
			Now        int64    `json:"now"`
			Known      []uint32 `json:"known"`
			Generation uint32   `json:"generation"`
		}{now, x.known, x.want})
	}
	for _, x := range []struct {
		generation uint32
		ok         bool
	}{{0, true}, {minute - 100000, true}, {minute, true}, {minute + 60, true}, {minute + 120, true}, {minute + 121, false}, {math.MaxUint32, false}} {
		v.Accepted = append(v.Accepted, struct {
			Now        int64  `json:"now"`
			Generation uint32 `json:"generation"`
			OK         bool   `json:"ok"`
		}{now, x.generation, x.ok})
	}
	low, high := bytes.Repeat([]byte{0x7f}, 32), bytes.Repeat([]byte{0x80}, 32)
	for _, x := range []struct {
		a, b         uint32
		idA, idB     []byte
		wantedSecond bool
	}{
		{minute, minute - 1, high, low, false}, {minute - 1, minute, low, high, true}, {minute, minute, low, high, false}, {minute, minute, high, low, true},
		{minute + 120, minute, high, low, false}, {minute + 121, minute, low, high, true}, {math.MaxUint32, 1, low, high, true},
		{math.MaxUint32, minute + 121, high, low, true},
	} {
		p := struct {
			Now         int64       `json:"now"`
			Generations [2]uint32   `json:"generations"`
			IDs         [2]hexBytes `json:"ids"`
			Preferred   int         `json:"preferred"`
		}{Now: now, Generations: [2]uint32{x.a, x.b}, IDs: [2]hexBytes{x.idA, x.idB}}
		if x.wantedSecond {
			p.Preferred = 1
		}
		v.Preferred = append(v.Preferred, p)
	}
	return v
}

func TestSessionVectors(t *testing.T) {
	path := filepath.Join("..", "testdata", "sessions.json")
	want := append(must(json.MarshalIndent(sessionTable(), "", " ")), '\n')
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := must(os.ReadFile(path)); !bytes.Equal(got, want) {
		t.Error("sessions.json differs from the table in this test")
	}
	v := sessionTable()
	for _, x := range v.Own {
		if got := ownGeneration(x.Known, x.Now); got != x.Generation {
			t.Errorf("own generation after %v: %d, want %d", x.Known, got, x.Generation)
		}
	}
	for _, x := range v.Accepted {
		if got := x.Generation <= latestGeneration(x.Now); got != x.OK {
			t.Errorf("generation %d at %d: %v", x.Generation, x.Now, got)
		}
	}
	for i, x := range v.Preferred {
		a := &state{generation: x.Generations[0], transcript: [32]byte(x.IDs[0])}
		b := &state{generation: x.Generations[1], transcript: [32]byte(x.IDs[1])}
		if prefers(a, b, x.Now) == (x.Preferred == 1) || prefers(b, a, x.Now) == (x.Preferred == 0) {
			t.Errorf("pair %d: not %d", i, x.Preferred)
		}
	}
}
