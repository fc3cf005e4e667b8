package trust

import (
	"errors"
	"maps"
	"strings"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Resolve returns the address for a user's input: a nickname, a name in the own realm, or a
// full address. It fails with a *local.Error: usage for an invalid name, not_found for
// another realm.
func (t *Trust) Resolve(tx *store.Tx, account store.AccountID, name string) (identity.Address, error) {
	a, err := tx.Account(account)
	if err != nil {
		return identity.Address{}, err
	}
	own, err := identity.ParseAddress(a.Address)
	if err != nil {
		return identity.Address{}, err
	}
	if !strings.Contains(name, "@") {
		peer, err := tx.FindNick(account, name)
		if err == nil {
			text, err := tx.PeerAddress(peer)
			if err != nil {
				return identity.Address{}, err
			}
			return identity.ParseAddress(text)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return identity.Address{}, err
		}
		if err := identity.ValidUser(name); err != nil {
			return identity.Address{}, local.Errorf(local.CodeUsage, "%q is not a valid name or nickname", name)
		}
		return identity.Address{User: name, Domain: own.Domain}, nil
	}
	addr, err := identity.ParseAddress(name)
	if err != nil {
		return identity.Address{}, local.Errorf(local.CodeUsage, "%q is not an address", name)
	}
	if addr.Domain != own.Domain {
		return identity.Address{}, local.Errorf(local.CodeNotFound, "%s belongs to a different realm than %s", addr, own)
	}
	return addr, nil
}

// Contact describes a peer. It fails with not_found if the peer is unknown.
func (t *Trust) Contact(tx *store.Tx, account store.AccountID, addr identity.Address) (local.Contact, error) {
	c, err := find(tx, account, addr)
	if err != nil {
		return local.Contact{}, err
	}
	return t.describe(tx, c, addr)
}

// Contacts describes all peers that are contacts or blocked, have a pending request, a
// changed key or a nickname.
func (t *Trust) Contacts(tx *store.Tx, account store.AccountID) (local.Contacts, error) {
	out := local.Contacts{Contacts: []local.Contact{}}
	all, err := tx.Contacts(account)
	if err != nil {
		return out, err
	}
	for _, c := range all {
		if c.Relation == store.RelationNone && !c.Request && len(c.Changed) == 0 && c.Nick == "" {
			continue
		}
		d, err := t.described(tx, c)
		if _, ok := errors.AsType[*store.ValueError](err); ok {
			t.logger.Error("a contact cannot be read", "peer", c.Peer, "error", err)
			continue // skip only this one
		}
		if err != nil {
			return out, err
		}
		out.Contacts = append(out.Contacts, d)
	}
	return out, nil
}

// described describes a peer, after reading its address.
func (t *Trust) described(tx *store.Tx, c store.Contact) (local.Contact, error) {
	text, err := tx.PeerAddress(c.Peer)
	if err != nil {
		return local.Contact{}, err
	}
	addr, err := identity.ParseAddress(text)
	if err != nil {
		return local.Contact{}, &store.ValueError{Table: "peers", Column: "address", Err: err}
	}
	return t.describe(tx, c, addr)
}

// find loads a known peer.
func find(tx *store.Tx, account store.AccountID, addr identity.Address) (store.Contact, error) {
	peer, err := tx.FindPeer(account, addr.String())
	if errors.Is(err, store.ErrNotFound) {
		return store.Contact{}, unknown(addr)
	}
	if err != nil {
		return store.Contact{}, err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return store.Contact{}, err
	}
	if len(c.Pin) == 0 && c.Relation == store.RelationNone && !c.Request {
		return store.Contact{}, unknown(addr)
	}
	return c, nil
}

func unknown(addr identity.Address) error {
	return local.Errorf(local.CodeNotFound, "%s is not a contact, and has not written to you", addr)
}

func (t *Trust) describe(tx *store.Tx, c store.Contact, addr identity.Address) (local.Contact, error) {
	out := local.Contact{
		Peer: addr.String(), Nick: c.Nick, Contact: c.Relation == store.RelationContact, Request: c.Request,
		Trust: TrustState(c), Fingerprint: fingerprint(c.Pin), Changed: fingerprint(c.Changed),
		Policy: maps.Clone(c.Policy), CertificateExpires: local.Time{Time: c.Expires},
	}
	var err error
	if out.Held, err = tx.HeldCount(c.Account, c.Peer); err != nil {
		return out, err
	}
	if len(c.Manifest) == 0 {
		return out, nil
	}
	m, err := t.seen.manifest(c.Manifest, addr, c.Pin)
	if err != nil {
		return out, err
	}
	for _, d := range m.Devices {
		out.Devices = append(out.Devices, local.Device{ID: d.ID.String(), Name: d.Name, Added: local.Time{Time: d.Added}})
	}
	return out, nil
}

// MakeContact makes a peer a contact, as a result of adding, sending, verifying or
// accepting a key. It reports whether that changed anything. A blocked peer stays blocked.
// The server is notified later.
func (t *Trust) MakeContact(tx *store.Tx, account store.AccountID, peer store.PeerID) (changed bool, err error) {
	c, err := tx.Contact(account, peer)
	if err != nil {
		return false, err
	}
	if c.Relation != store.RelationNone {
		if !c.Request {
			return false, nil
		}
		c.Request = false
		return true, tx.SaveContact(c)
	}
	return true, setRelation(tx, c, store.RelationContact)
}

// setRelation changes a relation and marks it for synchronization with the server.
func setRelation(tx *store.Tx, c store.Contact, r store.Relation) error {
	if c.Relation != r {
		c.Former = store.RelationNone
		if r == store.RelationBlocked {
			c.Former = c.Relation
		}
		c.Relation, c.Synced = r, false
		c.Change++
	}
	c.Request = false
	return tx.SaveContact(c)
}

// SetRequest marks a stranger who has written first, until the user decides.
func (t *Trust) SetRequest(tx *store.Tx, account store.AccountID, peer store.PeerID) error {
	c, err := tx.Contact(account, peer)
	if err != nil || c.Relation != store.RelationNone || c.Request {
		return err
	}
	c.Request = true
	return tx.SaveContact(c)
}

// NoAccount removes a contact because the server answered that there is no such account,
// and reports whether it did. It keeps a peer that was ever pinned, or that has a nickname
// or a policy: a server's answer must not remove a requirement of verification.
func (t *Trust) NoAccount(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	if err != nil || c.Relation != store.RelationContact || len(c.Pin) > 0 || c.Nick != "" || len(c.Policy) > 0 {
		return false, err
	}
	c.Relation, c.Synced = store.RelationNone, true // the server has nothing to remove
	c.Change++
	return true, tx.SaveContact(c)
}

// IsContact reports whether a peer is a contact.
func (t *Trust) IsContact(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	return c.Relation == store.RelationContact, err
}

// change loads a peer, creates its row if needed, and applies fn.
func (t *Trust) change(tx *store.Tx, account store.AccountID, addr identity.Address, fn func(c *store.Contact) error) (local.Contact, error) {
	if err := notSelf(tx, account, addr); err != nil {
		return local.Contact{}, err
	}
	peer, err := tx.Peer(account, addr.String())
	if err != nil {
		return local.Contact{}, err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return local.Contact{}, err
	}
	if err := fn(&c); err != nil {
		return local.Contact{}, err
	}
	if c, err = tx.Contact(account, peer); err != nil {
		return local.Contact{}, err
	}
	return t.describe(tx, c, addr)
}

// Add makes a peer a contact.
func (t *Trust) Add(tx *store.Tx, account store.AccountID, addr identity.Address) (local.Contact, error) {
	return t.change(tx, account, addr, func(c *store.Contact) error {
		if c.Relation == store.RelationBlocked {
			return local.Errorf(local.CodeRefused, "%s is blocked", addr).WithHint("secmsg unblock %s", addr.User)
		}
		return setRelation(tx, *c, store.RelationContact)
	})
}

// Remove removes a peer from the contacts. Pin and history stay, so that another key under
// the same name is still noticed.
func (t *Trust) Remove(tx *store.Tx, account store.AccountID, addr identity.Address) error {
	c, err := find(tx, account, addr)
	if err != nil {
		return err
	}
	c.Nick, c.Policy = "", nil
	return setRelation(tx, c, store.RelationNone)
}

// Block blocks a peer.
func (t *Trust) Block(tx *store.Tx, account store.AccountID, addr identity.Address) (local.Contact, error) {
	return t.change(tx, account, addr, func(c *store.Contact) error { return setRelation(tx, *c, store.RelationBlocked) })
}

// Unblock restores the relation a peer had before it was blocked: contact or none.
func (t *Trust) Unblock(tx *store.Tx, account store.AccountID, addr identity.Address) (local.Contact, error) {
	if _, err := find(tx, account, addr); err != nil {
		return local.Contact{}, err
	}
	return t.change(tx, account, addr, func(c *store.Contact) error {
		if c.Relation != store.RelationBlocked {
			return nil
		}
		return setRelation(tx, *c, c.Former)
	})
}

// Nick sets the nickname of a known peer; "" removes it.
func (t *Trust) Nick(tx *store.Tx, account store.AccountID, addr identity.Address, nick string) (local.Contact, error) {
	if _, err := find(tx, account, addr); err != nil {
		return local.Contact{}, err
	}
	if nick != "" {
		if err := checkNick(tx, account, addr, nick); err != nil {
			return local.Contact{}, err
		}
	}
	return t.change(tx, account, addr, func(c *store.Contact) error {
		c.Nick = nick
		err := tx.SaveContact(*c)
		if errors.Is(err, store.ErrNickTaken) {
			return local.Errorf(local.CodeUsage, "another peer already has the nickname %q", nick)
		}
		return err
	})
}

// checkNick rejects a nickname that could be mistaken for an address, or that is the name
// of another known peer.
func checkNick(tx *store.Tx, account store.AccountID, addr identity.Address, nick string) error {
	if identity.ValidDeviceName(nick) != nil || strings.ContainsAny(nick, "@,") {
		return local.Errorf(local.CodeUsage, "%q is not a valid nickname: use 1 to %d bytes without @ and comma", nick, identity.MaxDeviceName)
	}
	if nick == addr.User || identity.ValidUser(nick) != nil {
		return nil
	}
	row, err := tx.Account(account)
	if err != nil {
		return err
	}
	named := identity.Address{User: nick, Domain: addr.Domain}.String()
	if named == row.Address {
		return local.Errorf(local.CodeUsage, "%s is your own name", nick)
	}
	_, err = tx.FindPeer(account, named)
	if err == nil {
		return local.Errorf(local.CodeUsage, "%s is the name of another peer", nick)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// Set changes a policy of a peer; an empty value resets it.
func (t *Trust) Set(tx *store.Tx, account store.AccountID, addr identity.Address, key, value string) (local.Contact, error) {
	value, err := checkPolicy(key, value)
	if err != nil {
		return local.Contact{}, err
	}
	if _, err := find(tx, account, addr); err != nil {
		return local.Contact{}, err
	}
	return t.change(tx, account, addr, func(c *store.Contact) error {
		if c.Policy == nil {
			c.Policy = map[string]string{}
		}
		if value == "" {
			delete(c.Policy, key)
		} else {
			c.Policy[key] = value
		}
		return tx.SaveContact(*c)
	})
}

func notSelf(tx *store.Tx, account store.AccountID, addr identity.Address) error {
	a, err := tx.Account(account)
	if err != nil {
		return err
	}
	if a.Address == addr.String() {
		return local.Errorf(local.CodeUsage, "%s is this account", addr)
	}
	return nil
}
