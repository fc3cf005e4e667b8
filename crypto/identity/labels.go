package identity

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// Domain-separation labels. Every Ed25519 signature of the protocol covers len(label) || label || body,
// so that a signature made for one purpose never verifies for another. Certificates and CSRs, which the
// same keys sign, begin with the ASN.1 tag 0x30 and a length; no label has 32 or 48 bytes (SPEC
// "Notation").
const (
	// labelManifest is for device manifests, signed by the account key.
	labelManifest = "secmsg v1 device manifest"
	// labelPrekey is for prekeys, signed by the device key.
	labelPrekey = "secmsg v1 prekey"
	// labelRegistration is for proofs that a device key joins an account.
	labelRegistration = "secmsg v1 device registration"
	// labelChallenge is for answers to login challenges: the server chooses the nonce, so without a
	// label it could have anything signed.
	labelChallenge = "secmsg v1 access challenge"
	// labelStatement is for realm statements, as opposed to certificates, which the issuing CA signs
	// with the same key.
	labelStatement = "secmsg v1 realm statement"
	// labelInviteToken is for the stored hash of an invite token, as opposed to any other hash of 16
	// bytes.
	labelInviteToken = "secmsg v1 invite token"
)

// signingInput returns the signed bytes for body under label.
func signingInput(label string, body []byte) []byte {
	out := make([]byte, 0, 1+len(label)+len(body))
	out = append(out, byte(len(label)))
	out = append(out, label...)
	return append(out, body...)
}

// appendSignature returns body || signature.
func appendSignature(priv key.SigningPrivate, label string, body []byte) ([]byte, error) {
	sig := priv.Sign(signingInput(label, body))
	if sig == nil {
		return nil, key.ErrNoKey
	}
	return append(body[:len(body):len(body)], sig...), nil
}

// splitSignature splits signed into body and signature, after bounding its length.
func splitSignature(signed []byte, limit int) (body, sig []byte, err error) {
	if len(signed) <= key.SignatureSize || len(signed) > limit {
		return nil, nil, fmt.Errorf("%d bytes: %w", len(signed), ErrFormat)
	}
	n := len(signed) - key.SignatureSize
	return signed[:n:n], signed[n:], nil
}

// addBytes8 adds b with a one-byte length in front.
func addBytes8(b *cryptobyte.Builder, v []byte) {
	b.AddUint8LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(v) })
}

// readString8 reads a string with a one-byte length in front.
func readString8(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&v) {
		return false
	}
	*out = string(v)
	return true
}
