package ratchet

import (
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// BenchmarkHandshake is Initiate, first Seal and Accept, with one-time keys.
func BenchmarkHandshake(b *testing.B) {
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	self, bundle, m := alice.self(), bob.bundle(true), meta(alice, bob, 1)
	b.ReportAllocs()
	for b.Loop() {
		s := must(Initiate(self, bundle, testStart()))
		_, ct, err := s.Seal(m, testOwn(), []byte("hello"), testStart())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bob.accept(alice, m, ct, testStart()); err != nil {
			b.Fatal(err)
		}
	}
}

// benchText is 1 KiB of plaintext.
const benchText = 1 << 10

// BenchmarkSeal1K seals within a chain.
func BenchmarkSeal1K(b *testing.B) {
	p := newPair(&testing.T{})
	m, text := meta(p.dev[0], p.dev[1], 1), make([]byte, benchText)
	b.SetBytes(benchText)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.s[0].Seal(m, testOwn(), text, p.now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen1K opens within a chain.
func BenchmarkOpen1K(b *testing.B) {
	p := newPair(&testing.T{})
	m := meta(p.dev[0], p.dev[1], 1)
	_, ct, err := p.s[0].Seal(m, testOwn(), make([]byte, benchText), p.now)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchText)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.s[1].Open(m, ct, nil, p.now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRatchetStep is a Seal that begins a chain.
func BenchmarkRatchetStep(b *testing.B) {
	p := newPair(&testing.T{})
	p.open(p.seal(1, "turn"))
	m, text := meta(p.dev[0], p.dev[1], 1), make([]byte, benchText)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.s[0].Seal(m, testOwn(), text, p.now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStored reads and writes the stored form of a session.
func BenchmarkStored(b *testing.B) {
	p := newPair(&testing.T{})
	stored := p.s[0].Marshal()
	b.ReportAllocs()
	for b.Loop() {
		must(ParseSession(stored)).Marshal()
	}
}

// BenchmarkRawAEAD1K is the bare reference: one ChaCha20-Poly1305 seal.
func BenchmarkRawAEAD1K(b *testing.B) {
	aead := must(chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize)))
	nonce, text := make([]byte, chacha20poly1305.NonceSize), make([]byte, benchText)
	out := make([]byte, 0, benchText+chacha20poly1305.Overhead)
	b.SetBytes(benchText)
	b.ReportAllocs()
	for b.Loop() {
		out = aead.Seal(out[:0], nonce, text, nil)
	}
}
