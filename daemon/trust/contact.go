package trust

import (
	"errors"
	"maps"
	"strings"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Resolve finds the address that a user means: a nickname, a name of the own
// realm, or a full address. It fails with a *local.Error: usage for what cannot
// be a name, not_found for another realm.
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
			return identity.Address{}, local.Errorf(local.CodeUsage, "%q is neither a name nor a nickname", name)
		}
		return identity.Address{User: name, Domain: own.Domain}, nil
	}
	addr, err := identity.ParseAddress(name)
	if err != nil {
		return identity.Address{}, local.Errorf(local.CodeUsage, "%q is no address", name)
	}
	if addr.Domain != own.Domain {
		return identity.Address{}, local.Errorf(local.CodeNotFound, "%s belongs to another realm than %s", addr, own)
	}
	return addr, nil
}

// Contact describes a peer; one of whom nothing is known is not_found.
func (t *Trust) Contact(tx *store.Tx, account store.AccountID, addr identity.Address) (local.Contact, error) {
	c, err := find(tx, account, addr)
	if err != nil {
		return local.Contact{}, err
	}
	return t.describe(tx, c, addr)
}

// Contacts describes all peers that are contacts, blocked, asking, or have a
// changed key.
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
			continue // the others can
		}
		if err != nil {
			return out, err
		}
		out.Contacts = append(out.Contacts, d)
	}
	return out, nil
}

// described describes a peer whose address must be read first.
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

// find loads a peer that is known in some way.
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
	return local.Errorf(local.CodeNotFound, "nothing is known of %s", addr)
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

// MakeContact makes a peer a contact of mine, as adding, sending, verifying and
// accepting a key do, and reports whether that changed anything. A blocked peer
// stays blocked. The server is told later.
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

// setRelation changes a relation and leaves it to be told to the server.
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

// SetRequest marks a peer who wrote first, until the user decides.
func (t *Trust) SetRequest(tx *store.Tx, account store.AccountID, peer store.PeerID) error {
	c, err := tx.Contact(account, peer)
	if err != nil || c.Relation != store.RelationNone || c.Request {
		return err
	}
	c.Request = true
	return tx.SaveContact(c)
}

// NoAccount takes a peer off the contact list of whom the server says that there
// is no such account, and reports whether it did. One who was ever pinned stays,
// and so does one to whom the user has given a nickname or a policy: what a
// server says must not take a demand for verification away.
func (t *Trust) NoAccount(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	if err != nil || c.Relation != store.RelationContact || len(c.Pin) > 0 || c.Nick != "" || len(c.Policy) > 0 {
		return false, err
	}
	c.Relation, c.Synced = store.RelationNone, true // the server has nothing to forget
	c.Change++
	return true, tx.SaveContact(c)
}

// IsContact reports whether a peer is a contact of mine.
func (t *Trust) IsContact(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	return c.Relation == store.RelationContact, err
}

// change loads a peer, makes the row if needed, and applies fn.
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

// Remove takes a peer off the contact list. Pin and history stay, so that the
// same name with another key is still noticed.
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

// Unblock makes a blocked peer what he was before: a contact, or a stranger.
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

// Nick gives a known peer a nickname; "" takes it away.
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
			return local.Errorf(local.CodeUsage, "another peer has the nickname %q", nick)
		}
		return err
	})
}

// checkNick refuses a nickname that cannot be told from an address, or that is
// the name of another peer who is known.
func checkNick(tx *store.Tx, account store.AccountID, addr identity.Address, nick string) error {
	if identity.ValidDeviceName(nick) != nil || strings.ContainsAny(nick, "@,") {
		return local.Errorf(local.CodeUsage, "%q cannot be a nickname: 1 to %d bytes without @ and comma", nick, identity.MaxDeviceName)
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
		return local.Errorf(local.CodeUsage, "%s is this account itself", addr)
	}
	return nil
}
