package store

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// AccountState is the state of an own account. The numbers are stored.
type AccountState int

// States of an account.
const (
	// AccountJoining: its keys exist, but the server has not answered yet. It is not shown.
	AccountJoining AccountState = 1
	// AccountActive: in use.
	AccountActive AccountState = 2
	// AccountStopped: it no longer sends or receives, because another copy of the device is
	// in use or the device was revoked. Its history can be read.
	AccountStopped AccountState = 3
)

// Account is an own account. Certificates, manifests and fingerprints are opaque bytes
// here.
type Account struct {
	ID      AccountID    `json:"-"`
	State   AccountState `json:"-"`
	Default bool         `json:"-"`

	Address    string   `json:"address"` // user@domain
	Server     string   `json:"server"`  // HOST:PORT
	Realm      []byte   `json:"realm"`   // fingerprint of the realm's root
	Root       []byte   `json:"root"`    // root certificate, DER
	Device     [16]byte `json:"device"`
	DeviceName string   `json:"device_name"`
	Chain      [][]byte `json:"chain"`    // own certificate chain, DER
	Manifest   []byte   `json:"manifest"` // newest own manifest, signed
	// Pending is a signed manifest that replaces this device by a new one and is not
	// confirmed by the server yet.
	Pending []byte `json:"pending,omitempty"`
	// Invite is the hash of the invite that was used, to recognize a repeated join.
	Invite []byte `json:"invite,omitempty"`
	// Stopped is why the account is stopped, as a text for users.
	Stopped string `json:"stopped,omitempty"`
}

const accountTag = "account address"

// NewAccount adds an account in the state joining. Its address must be new.
func (tx *Tx) NewAccount(a Account) (AccountID, error) {
	tag, err := tx.tag(accountTag, []byte(a.Address))
	if err != nil {
		return 0, err
	}
	var id AccountID
	err = tx.get(`INSERT INTO accounts (tag, state, is_default, steps, next_prekey, body)
		VALUES (?, ?, 0, 0, 1, x'') RETURNING id`, []any{tag, AccountJoining}, &id)
	if err != nil {
		return 0, err
	}
	a.ID = id
	return id, tx.SaveAccount(a)
}

// SaveAccount writes the sealed part of an account. State and default have their own
// methods.
func (tx *Tx) SaveAccount(a Account) error {
	tx.memo = memo{}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode account: %w", err)
	}
	sealed, err := tx.seal("accounts", "body", rowOf(a.ID), body)
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE accounts SET body = ? WHERE id = ?`, sealed, a.ID)
}

// SetAccountState sets the state of an account.
func (tx *Tx) SetAccountState(id AccountID, s AccountState) error {
	tx.memo = memo{}
	return tx.exec(`UPDATE accounts SET state = ? WHERE id = ?`, s, id)
}

// SetDefaultAccount makes one account the default.
func (tx *Tx) SetDefaultAccount(id AccountID) error {
	tx.memo = memo{}
	return tx.exec(`UPDATE accounts SET is_default = (id = ?)`, id)
}

// Account returns an account by its id, or ErrNotFound.
func (tx *Tx) Account(id AccountID) (Account, error) {
	if a, ok := tx.memo.accounts[id]; ok && tx.unlocked() {
		return a, nil
	}
	a := Account{ID: id}
	var sealed []byte
	if err := tx.get(`SELECT state, is_default, body FROM accounts WHERE id = ?`, []any{id}, &a.State, &a.Default, &sealed); err != nil {
		return Account{}, err
	}
	if err := tx.openAccount(&a, sealed); err != nil {
		return Account{}, err
	}
	tx.memo.account(a)
	return a, nil
}

// FindAccount returns the account of an address (user@domain), or ErrNotFound.
func (tx *Tx) FindAccount(address string) (Account, error) {
	tag, err := tx.tag(accountTag, []byte(address))
	if err != nil {
		return Account{}, err
	}
	var id AccountID
	if err := tx.get(`SELECT id FROM accounts WHERE tag = ?`, []any{tag}, &id); err != nil {
		return Account{}, err
	}
	return tx.Account(id)
}

// AccountRef is the part of an account that can be read while the profile is locked.
type AccountRef struct {
	ID      AccountID
	State   AccountState
	Default bool
}

// AccountRefs returns all accounts, oldest first. It works while locked.
func (tx *Tx) AccountRefs() ([]AccountRef, error) {
	var refs []AccountRef
	err := tx.each(`SELECT id, state, is_default FROM accounts ORDER BY id`, nil, func(scan func(...any) error) error {
		var r AccountRef
		if err := scan(&r.ID, &r.State, &r.Default); err != nil {
			return err
		}
		refs = append(refs, r)
		return nil
	})
	return refs, err
}

// Accounts returns all accounts, oldest first.
func (tx *Tx) Accounts() ([]Account, error) {
	refs, err := tx.AccountRefs()
	if err != nil {
		return nil, err
	}
	accounts := make([]Account, 0, len(refs))
	for _, r := range refs {
		a, err := tx.Account(r.ID)
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

func (tx *Tx) openAccount(a *Account, sealed []byte) error {
	if k, ok := tx.known.accountOf(a.ID, sealed); ok && tx.unlocked() {
		k.ID, k.State, k.Default = a.ID, a.State, a.Default
		*a = k
		return nil
	}
	body, err := tx.open("accounts", "body", rowOf(a.ID), sealed)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, a); err != nil {
		return fmt.Errorf("decode account: %w: %w", ErrCorrupt, err)
	}
	tx.known.putAccount(*a, sealed, tx.epoch)
	return nil
}

// Fence returns the newest stored fence value (nil: none) and the number of
// session-changing steps.
func (tx *Tx) Fence(id AccountID) (value []byte, steps uint64, err error) {
	var sealed []byte
	if err := tx.get(`SELECT fence FROM accounts WHERE id = ?`, []any{id}, &sealed); err != nil {
		return nil, 0, err
	}
	if steps, err = tx.Steps(id); err != nil {
		return nil, 0, err
	}
	if sealed == nil {
		return nil, steps, nil
	}
	value, err = tx.open("accounts", "fence", rowOf(id), sealed)
	return value, steps, err
}

// SetFence stores a fence value, which is durable after the commit.
func (tx *Tx) SetFence(id AccountID, value []byte) error {
	sealed, err := tx.seal("accounts", "fence", rowOf(id), value)
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE accounts SET fence = ? WHERE id = ?`, sealed, id)
}

// Steps returns the number of session-changing steps of an account.
func (tx *Tx) Steps(id AccountID) (uint64, error) {
	c, err := tx.loadCounter(countSteps, id, 0)
	if err != nil {
		return 0, err
	}
	return uint64(c.value), nil
}

// Step counts a session-changing step, in the transaction of the change.
func (tx *Tx) Step(id AccountID) error {
	_, err := tx.draw(countSteps, id, 0)
	return err
}

// deleteAccount returns the statements that delete an account. Tables with references to
// others come first.
func deleteAccount() []string {
	return []string{
		`DELETE FROM skipped WHERE account = ?`,
		`DELETE FROM sessions WHERE account = ?`,
		`DELETE FROM handshakes WHERE account = ?`,
		`DELETE FROM prekeys WHERE account = ?`,
		`DELETE FROM account_keys WHERE account = ?`,
		`DELETE FROM manifests WHERE account = ?`,
		`DELETE FROM removed WHERE account = ?`,
		`DELETE FROM contacts WHERE account = ?`,
		`DELETE FROM transfers WHERE account = ?`,
		`DELETE FROM files WHERE account = ?`,
		`DELETE FROM envelopes WHERE account = ?`,
		`DELETE FROM outbox WHERE account = ?`,
		`DELETE FROM messages WHERE account = ?`,
		`DELETE FROM events WHERE account = ?`,
		`DELETE FROM dedupe WHERE account = ?`,
		`DELETE FROM idempotency WHERE account = ?`,
		`DELETE FROM receipts WHERE account = ?`,
		`DELETE FROM parked WHERE account = ?`,
		`DELETE FROM rebuilds WHERE account = ?`,
		`DELETE FROM sent_n WHERE account = ?`,
		`DELETE FROM seen_n WHERE account = ?`,
		`DELETE FROM gaps WHERE account = ?`,
		`DELETE FROM locked_queue WHERE account = ?`,
		`DELETE FROM meta WHERE account = ?`,
		`DELETE FROM peers WHERE account = ?`,
		`DELETE FROM accounts WHERE id = ?`,
	}
}

// DeleteAccount deletes all rows of an account.
func (tx *Tx) DeleteAccount(id AccountID) error {
	if err := tx.flush(); err != nil {
		return err
	}
	tx.OnCommit(tx.known.clear) // including the names of its peers
	for _, statement := range deleteAccount() {
		if err := tx.exec(statement, id); err != nil {
			return err
		}
	}
	return nil
}

// ResetDevice deletes the state of the device, but not of the account: fence, steps,
// prekeys, sessions and all message keys. A new device begins.
func (tx *Tx) ResetDevice(id AccountID) error {
	if err := tx.flush(); err != nil {
		return err
	}
	for _, statement := range []string{
		`DELETE FROM skipped WHERE account = ?`,
		`DELETE FROM sessions WHERE account = ?`,
		`DELETE FROM handshakes WHERE account = ?`,
		`DELETE FROM prekeys WHERE account = ?`,
	} {
		if err := tx.exec(statement, id); err != nil {
			return err
		}
	}
	return tx.exec(`UPDATE accounts SET fence = NULL, steps = 0 WHERE id = ?`, id)
}

func rowOf(id AccountID) string { return strconv.FormatInt(int64(id), 10) }
