package loadgen

import (
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// Prekeys returns an upload with n one-time keys of each kind, all of them signed.
func (d *Device) Prekeys(n int) (wire.PutPrekeys, error) {
	exchange, kem := key.GenerateExchange().Public(), key.GenerateKEM().Public()
	expires := time.Now().Add(identity.PrekeyLifetime)
	sign := func(p identity.Prekey) ([]byte, error) {
		p.Expires = expires
		p, err := identity.SignPrekey(d.signing, d.ID, d.address, p)
		if err != nil {
			return nil, fmt.Errorf("prekeys of %s: %w", d.Name, err)
		}
		b, err := p.Marshal()
		if err != nil {
			return nil, fmt.Errorf("prekeys of %s: %w", d.Name, err)
		}
		return b, nil
	}
	var out wire.PutPrekeys
	var err error
	if out.SignedPrekey, err = sign(identity.Prekey{Kind: identity.SignedExchange, ID: 1, Exchange: exchange}); err != nil {
		return out, err
	}
	if out.LastResortKEM, err = sign(identity.Prekey{Kind: identity.LastResortKEM, ID: 1, KEM: kem}); err != nil {
		return out, err
	}
	for i := range n {
		a, err := sign(identity.Prekey{Kind: identity.OneTimeExchange, ID: uint32(i + 2), Exchange: exchange})
		if err != nil {
			return out, err
		}
		b, err := sign(identity.Prekey{Kind: identity.OneTimeKEM, ID: uint32(i + 2), KEM: kem})
		if err != nil {
			return out, err
		}
		out.OneTimeExchange, out.OneTimeKEM = append(out.OneTimeExchange, a), append(out.OneTimeKEM, b)
	}
	return out, nil
}
