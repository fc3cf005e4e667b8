package files

import (
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"fmt"
	"hash"

	"secmsg/crypto/seal"
)

// plan is the durable state of an upload, from which it continues after a restart.
type plan struct {
	Key      []byte `json:"key"`
	Size     int64  `json:"size"` // of the plaintext in bytes; -1: a stream
	Stream   bool   `json:"stream,omitempty"`
	Source   source `json:"source"`
	Blob     string `json:"blob,omitempty"`
	Restarts int    `json:"restarts,omitempty"` // number of restarts, because the source changed or the blob was lost
	Note     string `json:"note,omitempty"`     // reason of the last restart
	LifeMS   int64  `json:"life_ms,omitempty"`  // requested lifetime of the blob; 0: the server's limit
}

// newPlan returns the plan for a source, with a new key.
func newPlan(src source, size int64, lifeMS int64) plan {
	p := plan{Size: size, Stream: src.Path == "", Source: src, LifeMS: lifeMS}
	p.renew()
	return p
}

// renew starts over under a new key. Changed content demands that: no chunk may be sealed
// twice under one key (crypto/SPEC.md, "File streams").
func (p *plan) renew() {
	k := seal.NewFileKey()
	p.Key = k.Bytes()
	k.Wipe()
	p.Blob = ""
}

func (p *plan) encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode upload: %w", err)
	}
	return b, nil
}

func decodePlan(b []byte) (plan, error) {
	var p plan
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("decode upload: %w", err)
	}
	return p, nil
}

// cipher returns the cipher for the plan's key. The caller wipes it.
func (p *plan) cipher() (*seal.FileCipher, error) { return cipherOf(p.Key) }

func cipherOf(keyBytes []byte) (*seal.FileCipher, error) {
	k, err := seal.ParseFileKey(keyBytes)
	if err != nil {
		return nil, err
	}
	defer k.Wipe()
	return seal.NewFileCipher(k)
}

// mark is the position of an upload after a part.
type mark struct {
	Offset int64  `json:"offset"` // bytes of the source
	Last   bool   `json:"last,omitempty"`
	Sealed []byte `json:"sealed"` // state of the ciphertext's digest
}

func decodeMark(b []byte) (mark, error) {
	var m mark
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("decode part: %w", err)
	}
	return m, nil
}

// saveHash returns a digest's state.
func saveHash(h hash.Hash) ([]byte, error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("digest %T has no state", h)
	}
	return m.MarshalBinary()
}

// loadHash restores a digest's state; nil is the initial one.
func loadHash(state []byte) (hash.Hash, error) {
	h := sha256.New()
	if state == nil {
		return h, nil
	}
	m, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("digest %T has no state", h)
	}
	if err := m.UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("state of a digest: %w", err)
	}
	return h, nil
}
