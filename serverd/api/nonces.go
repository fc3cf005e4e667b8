package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"secmsg/crypto/identity"
)

// maxUsedNonces bounds the used nonces that are remembered. Only a login with a valid signature uses
// one up, so strangers cannot fill the table.
const maxUsedNonces = 1 << 16

// Layout of a nonce: 8 random bytes, 8 bytes of expiry in Unix milliseconds, and the first 16 bytes of
// an HMAC-SHA256 over both and the names it is issued to. So a challenge costs the server no memory,
// and looks alike for everybody.
const (
	nonceRandom = 8
	nonceHead   = nonceRandom + 8
)

// nonce is a login challenge.
type nonce = [identity.ChallengeNonceSize]byte

// nonces issues and checks challenges. Its key lives as long as the process, so a nonce used before a
// restart cannot be used again after it.
type nonces struct {
	key  [sha256.Size]byte // constant
	life time.Duration     // constant
	now  func() time.Time

	mu   sync.Mutex
	used map[nonce]time.Time // expiry of used nonces; guarded by mu
}

func newNonces(life time.Duration, now func() time.Time) *nonces {
	n := &nonces{life: life, now: now, used: map[nonce]time.Time{}}
	rand.Read(n.key[:])
	return n
}

// make returns a challenge for an account and a device by name, whether they exist or not.
func (n *nonces) make(account, device string) (nonce, time.Time) {
	var v nonce
	rand.Read(v[:nonceRandom])
	expires := n.now().Add(n.life).Truncate(time.Millisecond)
	binary.BigEndian.PutUint64(v[nonceRandom:], uint64(expires.UnixMilli()))
	copy(v[nonceHead:], n.mac(v[:nonceHead], account, device))
	return v, expires
}

// check reports whether b is a challenge that make returned for the same names and that has not
// expired. use reports whether it has been used.
func (n *nonces) check(b []byte, account, device string) (nonce, bool) {
	if len(b) != len(nonce{}) {
		return nonce{}, false
	}
	v := nonce(b)
	if !hmac.Equal(v[nonceHead:], n.mac(v[:nonceHead], account, device)) {
		return nonce{}, false
	}
	return v, n.now().Before(expiry(v))
}

// use marks a checked nonce as used and reports whether this was the first use.
func (n *nonces) use(v nonce) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, used := n.used[v]; used {
		return false
	}
	if len(n.used) >= maxUsedNonces {
		now := n.now()
		for k, until := range n.used {
			if !now.Before(until) {
				delete(n.used, k)
			}
		}
		if len(n.used) >= maxUsedNonces {
			return false
		}
	}
	n.used[v] = expiry(v)
	return true
}

func expiry(v nonce) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(v[nonceRandom:nonceHead])))
}

func (n *nonces) mac(head []byte, account, device string) []byte {
	m := hmac.New(sha256.New, n.key[:])
	m.Write(head)
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(account)))
	m.Write(size[:])
	m.Write([]byte(account))
	m.Write([]byte(device))
	return m.Sum(nil)[:len(nonce{})-nonceHead]
}
