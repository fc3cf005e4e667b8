package keyring

import (
	"context"
	"testing"

	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
)

// BenchmarkSealOpen is one message from trust check to plaintext, with 100 messages per
// transaction in each direction.
func BenchmarkSealOpen(b *testing.B) {
	w := newWorld(b)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "a"), "a")
	alice.mustOpen(bob, 2, bob.seal(alice, 2, "b"), "b")
	var target Target
	alice.update(func(tx *store.Tx) (err error) { target, err = alice.target(tx, bob); return err })
	device := alice.device()
	const batch = 100
	run := func(u *user, fn func(tx *store.Tx, i int) error) {
		if err := u.st.Update(context.Background(), func(tx *store.Tx) error {
			for i := range batch {
				if err := fn(tx, i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	n := 10
	b.ResetTimer()
	for range b.N/batch + 1 {
		cts := make([][]byte, batch)
		run(alice, func(tx *store.Tx, i int) error {
			if _, err := alice.trust.CheckSend(tx, alice.account, target.Peer, false, w.now); err != nil {
				return err
			}
			var err error
			cts[i], err = alice.keys.Seal(tx, target, ratchet.ClassDurable, messageID(n+i), []byte("hello"), w.now)
			return err
		})
		run(bob, func(tx *store.Tx, i int) error {
			in := Incoming{Account: bob.account, Sender: alice.addr, SenderDevice: device, Class: ratchet.ClassDurable,
				MessageID: messageID(n + i), Ciphertext: cts[i]}
			var err error
			if in.Peer, err = tx.Peer(bob.account, alice.addr.String()); err != nil {
				return err
			}
			if err := bob.trust.CheckReceive(tx, bob.account, in.Peer, in.Sender, in.SenderDevice, 0); err != nil {
				return err
			}
			_, err = bob.keys.Open(tx, in, bob.trust, w.now)
			return err
		})
		n += batch
	}
}
