package trust

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// cacheSize bounds each cache: several times the number of peers that a user talks to in a
// day.
const cacheSize = 1024

// cache remembers the results of parsing and verification. It contains no decisions: each
// entry is determined by its key, a hash of all inputs.
type cache struct {
	mu        sync.Mutex
	manifests map[[sha256.Size]byte]identity.Manifest // guarded by mu
	owns      map[[sha256.Size]byte]ownKeys           // guarded by mu
}

// ownKeys are the keys in an own account's root and leaf certificates.
type ownKeys struct {
	root *x509.Certificate
	key  key.SigningPublic
}

// digest hashes parts, each prefixed with its length.
func digest(parts ...[]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// manifest returns a stored manifest, verified with a stored pin. Any failure is
// store.ErrCorrupt, since both were verified when they were stored.
func (c *cache) manifest(signed []byte, addr identity.Address, pin []byte) (identity.Manifest, error) {
	id := digest(signed, []byte(addr.String()), pin)
	c.mu.Lock()
	m, ok := c.manifests[id]
	c.mu.Unlock()
	if !ok {
		k, err := key.ParseSigningPublic(pin)
		if err != nil {
			return identity.Manifest{}, fmt.Errorf("stored pin: %w: %w", store.ErrCorrupt, err)
		}
		if m, err = identity.VerifyManifest(signed, addr, k); err != nil {
			return identity.Manifest{}, fmt.Errorf("stored manifest: %w: %w", store.ErrCorrupt, err)
		}
		c.mu.Lock()
		if c.manifests == nil || len(c.manifests) >= cacheSize {
			c.manifests = map[[sha256.Size]byte]identity.Manifest{}
		}
		c.manifests[id] = m
		c.mu.Unlock()
	}
	m.Devices = slices.Clone(m.Devices)
	return m, nil
}

// own returns the keys in stored root and leaf certificates. They were verified when they
// were stored, and the store is authenticated; an expired leaf still names the key.
func (c *cache) own(root, leaf []byte) (ownKeys, error) {
	id := digest(root, leaf)
	c.mu.Lock()
	k, ok := c.owns[id]
	c.mu.Unlock()
	if ok {
		return k, nil
	}
	var err error
	if k.root, err = x509.ParseCertificate(root); err != nil {
		return ownKeys{}, err
	}
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return ownKeys{}, err
	}
	std, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return ownKeys{}, errors.New("certificate is not Ed25519")
	}
	if k.key, err = key.ParseSigningPublic(std); err != nil {
		return ownKeys{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owns == nil || len(c.owns) >= cacheSize {
		c.owns = map[[sha256.Size]byte]ownKeys{}
	}
	c.owns[id] = k
	return k, nil
}
