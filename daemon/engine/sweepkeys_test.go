package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
)

// TestOldKeysAreSweptAlone lets the sweep of records fail at a damaged row. Old keys
// are deleted all the same.
func TestOldKeysAreSweptAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice")
		alice := p[0]
		defer stopAll(p...)
		count := func() (n int) {
			t.Helper()
			err := alice.st.View(t.Context(), func(tx *store.Tx) (err error) {
				n, err = tx.CountPrekeys(alice.account, uint8(identity.OneTimeKEM))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if count() == 0 {
			t.Fatal("no keys to sweep")
		}
		alice.link.disconnect()
		alice.spoilRows(`UPDATE prekeys SET created_ms = 1 WHERE kind = ?`, int(identity.OneTimeKEM))
		alice.spoilRows(`INSERT INTO meta (account, key, value) VALUES (?, 'keyed/x', '{')`, alice.account)
		settleDown(time.Second)
		if err := alice.engine.do(t.Context(), alice.engine.sweep); err == nil {
			t.Error("the sweep of records does not fail, so this test shows nothing")
		}
		if n := count(); n != 0 {
			t.Errorf("%d old keys are left", n)
		}
	})
}
