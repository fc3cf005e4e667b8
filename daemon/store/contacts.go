package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Relation is the user's relation to a peer. The numbers are stored.
type Relation int

// Relations.
const (
	RelationNone    Relation = 0
	RelationContact Relation = 1
	RelationBlocked Relation = 2
)

// TrustLevel is how a peer's key was pinned. The numbers are stored.
type TrustLevel int

// Levels of trust.
const (
	TrustUnknown   TrustLevel = 0 // no pin
	TrustCertified TrustLevel = 1 // pinned on first contact
	TrustVerified  TrustLevel = 2 // the safety number was compared by a user or a script
)

// Contact is the state of a peer: pin, manifest, relation, policy. Keys, certificates and
// manifests are opaque bytes here.
type Contact struct {
	Account  AccountID  `json:"-"`
	Peer     PeerID     `json:"-"`
	Relation Relation   `json:"-"`
	Synced   bool       `json:"-"` // the server has the relation
	Change   uint64     `json:"-"` // number of changes of the relation
	Request  bool       `json:"-"` // has written first and waits for the user's decision
	Trust    TrustLevel `json:"-"`

	Pin      []byte            `json:"pin,omitempty"`      // account identity key
	Chain    [][]byte          `json:"chain,omitempty"`    // newest certificate chain of the pin
	Expires  time.Time         `json:"expires,omitzero"`   // expiry of that chain
	Warned   time.Time         `json:"warned,omitzero"`    // expiry for which a warning was reported
	Manifest []byte            `json:"manifest,omitempty"` // newest, signed
	Nick     string            `json:"nick,omitempty"`
	Policy   map[string]string `json:"policy,omitempty"`
	Former   Relation          `json:"former,omitempty"` // of a blocked peer: the relation that unblocking restores
	// Changed is a certified key that is not the pinned one. It waits for the user's
	// decision.
	Changed         []byte   `json:"changed,omitempty"`
	ChangedChain    [][]byte `json:"changed_chain,omitempty"`
	ChangedManifest []byte   `json:"changed_manifest,omitempty"`
}

const nickTag = "contact nick"

// Contact returns a peer's state, or an empty Contact if there is none.
func (tx *Tx) Contact(account AccountID, peer PeerID) (Contact, error) {
	if c, ok := tx.memo.contact(account, peer); ok && tx.unlocked() {
		return c, nil
	}
	c := Contact{Account: account, Peer: peer, Synced: true}
	var sealed []byte
	err := tx.get(`SELECT relation, synced, change, request, trust, body FROM contacts WHERE account = ? AND peer = ?`,
		[]any{account, peer}, &c.Relation, &c.Synced, &c.Change, &c.Request, &c.Trust, &sealed)
	if errors.Is(err, ErrNotFound) {
		return c, nil
	}
	if err != nil {
		return Contact{}, err
	}
	if err := tx.openContact(&c, sealed); err != nil {
		return Contact{}, err
	}
	tx.memo.putContact(c)
	return c, nil
}

// SaveContact writes a contact. It fails with ErrNickTaken if another peer has the
// nickname.
func (tx *Tx) SaveContact(c Contact) error {
	tx.memo = memo{}
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode contact: %w", err)
	}
	sealed, err := tx.seal("contacts", "body", contactRow(c.Account, c.Peer), body)
	if err != nil {
		return err
	}
	var nick any
	if c.Nick != "" {
		other, err := tx.FindNick(c.Account, c.Nick)
		if err == nil && other != c.Peer {
			return fmt.Errorf("save contact: %w", ErrNickTaken)
		}
		if err != nil && !isNotFound(err) {
			return err
		}
		if nick, err = tx.tag(nickTag, []byte(c.Nick)); err != nil {
			return err
		}
	}
	return tx.exec(`INSERT INTO contacts (account, peer, relation, synced, change, request, trust, nick_tag, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, peer) DO UPDATE SET relation = excluded.relation, synced = excluded.synced,
			change = excluded.change, request = excluded.request, trust = excluded.trust,
			nick_tag = excluded.nick_tag, body = excluded.body`,
		c.Account, c.Peer, c.Relation, c.Synced, c.Change, c.Request, c.Trust, nick, sealed)
}

// ErrNickTaken says that a nickname belongs to another peer.
var ErrNickTaken = errors.New("nickname is in use")

// FindNick returns the peer with a nickname, or ErrNotFound.
func (tx *Tx) FindNick(account AccountID, nick string) (PeerID, error) {
	if tx.memo.noNick[nickOf{account, nick}] && tx.unlocked() {
		return 0, fmt.Errorf("nickname: %w", ErrNotFound)
	}
	tag, err := tx.tag(nickTag, []byte(nick))
	if err != nil {
		return 0, err
	}
	var peer PeerID
	err = tx.get(`SELECT peer FROM contacts WHERE account = ? AND nick_tag = ?`, []any{account, tag}, &peer)
	if isNotFound(err) {
		tx.memo.noSuchNick(nickOf{account, nick})
	}
	return peer, err
}

// Contacts returns the state of all peers of an account, ordered by id. It omits damaged
// rows, for which Contact returns an error.
func (tx *Tx) Contacts(account AccountID) ([]Contact, error) {
	return tx.contacts(account, `SELECT peer, relation, synced, change, request, trust, body
		FROM contacts WHERE account = ? ORDER BY peer`)
}

// PendingRelations returns the contacts with a relation that the server does not have yet.
func (tx *Tx) PendingRelations(account AccountID) ([]Contact, error) {
	return tx.contacts(account, `SELECT peer, relation, synced, change, request, trust, body
		FROM contacts WHERE account = ? AND synced = 0 ORDER BY peer`)
}

// RelationSynced records that the server has the relation as of change. A later change
// stays pending.
func (tx *Tx) RelationSynced(account AccountID, peer PeerID, change uint64) error {
	tx.memo = memo{}
	return tx.exec(`UPDATE contacts SET synced = 1 WHERE account = ? AND peer = ? AND change = ?`, account, peer, change)
}

func (tx *Tx) contacts(account AccountID, query string) ([]Contact, error) {
	var list []Contact
	var bodies [][]byte
	err := tx.each(query, []any{account}, func(scan func(...any) error) error {
		c := Contact{Account: account}
		var sealed []byte
		if err := scan(&c.Peer, &c.Relation, &c.Synced, &c.Change, &c.Request, &c.Trust, &sealed); err != nil {
			return err
		}
		list, bodies = append(list, c), append(bodies, sealed)
		return nil
	})
	if err != nil {
		return nil, err
	}
	whole := list[:0]
	for i := range list {
		c := list[i]
		err := tx.openContact(&c, bodies[i])
		if exceptValueError(err) != nil {
			return nil, err
		}
		if err == nil {
			whole = append(whole, c)
		}
	}
	return whole, nil
}

func (tx *Tx) openContact(c *Contact, sealed []byte) error {
	if k, ok := tx.known.contact(c.Peer, sealed); ok && tx.unlocked() {
		k.Account, k.Peer, k.Relation, k.Synced = c.Account, c.Peer, c.Relation, c.Synced
		k.Change, k.Request, k.Trust = c.Change, c.Request, c.Trust
		*c = k
		return nil
	}
	body, err := tx.open("contacts", "body", contactRow(c.Account, c.Peer), sealed)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, c); err != nil {
		return &ValueError{Table: "contacts", Column: "body", Err: fmt.Errorf("decode: %w", err)}
	}
	tx.known.putContact(*c, sealed, tx.epoch)
	return nil
}

// AddManifestHash remembers the hash of an admitted manifest. Peer 0 is the own account;
// for it, listed says whether the manifest lists this device.
func (tx *Tx) AddManifestHash(account AccountID, peer PeerID, version uint64, hash [32]byte, listed bool) error {
	return tx.exec(`INSERT INTO manifests (account, peer, version, hash, listed) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (account, peer, version) DO UPDATE SET listed = excluded.listed WHERE hash = excluded.hash`,
		account, peer, int64(version), hash[:], listed)
}

// UnlistManifests records that no own manifest so far lists this device.
func (tx *Tx) UnlistManifests(account AccountID) error {
	return tx.exec(`UPDATE manifests SET listed = 0 WHERE account = ? AND peer = 0`, account)
}

// ManifestHash returns the hash of the admitted manifest with a version, or ErrNotFound.
func (tx *Tx) ManifestHash(account AccountID, peer PeerID, version uint64) (hash [32]byte, listed bool, err error) {
	var b []byte
	err = tx.get(`SELECT hash, listed FROM manifests WHERE account = ? AND peer = ? AND version = ?`,
		[]any{account, peer, int64(version)}, &b, &listed)
	if err != nil {
		return hash, false, err
	}
	if len(b) != len(hash) {
		return hash, false, fmt.Errorf("manifest hash of %d bytes: %w", len(b), ErrCorrupt)
	}
	return [32]byte(b), listed, nil
}

// ForgetManifests deletes the manifest hashes of a peer whose key was replaced.
func (tx *Tx) ForgetManifests(account AccountID, peer PeerID) error {
	return tx.exec(`DELETE FROM manifests WHERE account = ? AND peer = ?`, account, peer)
}

// TrimManifests keeps only the hashes of the newest manifests of a peer.
func (tx *Tx) TrimManifests(account AccountID, peer PeerID, keep int) error {
	return tx.exec(`DELETE FROM manifests WHERE account = ?1 AND peer = ?2 AND version NOT IN
		(SELECT version FROM manifests WHERE account = ?1 AND peer = ?2 ORDER BY version DESC LIMIT ?3)`, account, peer, keep)
}

func contactRow(account AccountID, peer PeerID) string { return fmt.Sprintf("%d/%d", account, peer) }
