package store

// Kinds of private seeds of an account.
const (
	KeyIdentity = "identity" // the account's; on the primary device only
	KeySigning  = "signing"  // the device's
	KeyExchange = "exchange" // the device's
	// KeyNextSigning and KeyNextExchange belong to the device that replaces this one, until
	// the server has confirmed it.
	KeyNextSigning  = "next signing"
	KeyNextExchange = "next exchange"
)

// SetKey seals and stores a private seed.
func (tx *Tx) SetKey(account AccountID, kind string, seed []byte) error {
	sealed, err := tx.seal("account_keys", "seed", rowOf(account)+"/"+kind, seed)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO account_keys (account, kind, seed) VALUES (?, ?, ?)
		ON CONFLICT (account, kind) DO UPDATE SET seed = excluded.seed`, account, kind, sealed)
}

// Key returns a private seed, or ErrNotFound. The caller clears it.
func (tx *Tx) Key(account AccountID, kind string) ([]byte, error) {
	var sealed []byte
	if err := tx.get(`SELECT seed FROM account_keys WHERE account = ? AND kind = ?`, []any{account, kind}, &sealed); err != nil {
		return nil, err
	}
	return tx.open("account_keys", "seed", rowOf(account)+"/"+kind, sealed)
}

// DeleteKey deletes a private seed, if it exists.
func (tx *Tx) DeleteKey(account AccountID, kind string) error {
	return tx.exec(`DELETE FROM account_keys WHERE account = ? AND kind = ?`, account, kind)
}

// SetProfile seals and stores a value of the profile.
func (tx *Tx) SetProfile(key string, value []byte) error {
	sealed, err := tx.seal("profile", "value", key, value)
	if err != nil {
		return err
	}
	return tx.setProfile(key, sealed)
}

// Profile returns a sealed value of the profile, or ErrNotFound.
func (tx *Tx) Profile(key string) ([]byte, error) {
	sealed, err := tx.ProfileClear(key)
	if err != nil {
		return nil, err
	}
	return tx.open("profile", "value", key, sealed)
}

// SetProfileClear stores a value of the profile that is not secret.
func (tx *Tx) SetProfileClear(key string, value []byte) error { return tx.setProfile(key, value) }

// ProfileClear returns a value stored by SetProfileClear, or ErrNotFound. It works while
// locked.
func (tx *Tx) ProfileClear(key string) ([]byte, error) {
	var value []byte
	err := tx.get(`SELECT value FROM profile WHERE key = ?`, []any{key}, &value)
	return value, err
}

func (tx *Tx) setProfile(key string, value []byte) error {
	return tx.exec(`INSERT INTO profile (key, value) VALUES (?, ?)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
}

// ClearProfile deletes all values of the profile.
func (tx *Tx) ClearProfile() error { return tx.exec(`DELETE FROM profile`) }
