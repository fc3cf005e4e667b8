package ratchet

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
)

// secret is a 32-byte key of the ratchet. It exists only behind the pointer of a Session, so that no
// print verb reaches it.
type secret [secretSize]byte

// expand3 derives three secrets by HKDF-SHA512. It cannot fail: the lengths are constants far below the
// limit of RFC 5869.
func expand3(input, salt []byte, label string) (a, b, c secret, err error) {
	out, err := hkdf.Key(sha512.New, input, salt, label, 3*secretSize)
	if err != nil {
		return a, b, c, err
	}
	defer clear(out)
	copy(a[:], out)
	copy(b[:], out[secretSize:])
	copy(c[:], out[2*secretSize:])
	return a, b, c, nil
}

// handshakeKeys derives root key, the initiator's first header key and the responder's first header
// key. All secrets have 32 bytes, and the transcript determines their number. X3DH puts 32 bytes of
// 0xFF in front, to separate the input from that of XEdDSA, which is not used here.
func handshakeKeys(transcript [sha512.Size]byte, secrets ...[]byte) (root, first, next secret, err error) {
	input := make([]byte, 0, 32*len(secrets))
	for _, s := range secrets {
		input = append(input, s...)
	}
	defer clear(input)
	return expand3(input, transcript[:], labelKeys)
}

// rootStep is the step of the root chain: next root key, chain key, next header key. If the chain
// carries an answer, the KEM secret is mixed in together with the hash of key and ciphertext, because
// ML-KEM's secret alone does not bind them.
func rootStep(root secret, dh []byte, kem *kemSecret) (next, chain, header secret, err error) {
	if kem == nil {
		return expand3(dh, root[:], labelRoot)
	}
	input := make([]byte, 0, len(dh)+2*32)
	input = append(input, dh...)
	input = append(input, kem.shared...)
	input = append(input, kem.binding[:]...)
	defer clear(input)
	return expand3(input, root[:], labelRootKEM)
}

// kemSecret is the result of one encapsulation.
type kemSecret struct {
	shared  []byte
	binding [hashSize]byte // SHA-256(ek || ct)
}

func newKEMSecret(shared, ek, ct []byte) *kemSecret {
	h := sha256.New()
	h.Write(ek)
	h.Write(ct)
	k := &kemSecret{shared: shared}
	h.Sum(k.binding[:0])
	return k
}

// chainStep is one step of a chain: next chain key and message key.
func chainStep(chain secret) (next, message secret) {
	return chainMAC(chain, chainNext), chainMAC(chain, chainMessage)
}

func chainMAC(chain secret, input byte) (out secret) {
	m := hmac.New(sha512.New, chain[:])
	m.Write([]byte{input})
	sum := m.Sum(make([]byte, 0, sha512.Size))
	copy(out[:], sum)
	clear(sum)
	return out
}
