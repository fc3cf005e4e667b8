package store

import "maps"

// memo caches rows that a transaction reads for every message. Every write to such a row,
// and every undo of a part, drops the whole memo; no other transaction writes at the same
// time.
type memo struct {
	accounts map[AccountID]Account
	contacts map[contactOf]Contact
	noNick   map[nickOf]bool // names that are not nicknames
}

type contactOf struct {
	account AccountID
	peer    PeerID
}

type nickOf struct {
	account AccountID
	nick    string
}

func (m *memo) account(a Account) {
	if m.accounts == nil {
		m.accounts = make(map[AccountID]Account)
	}
	m.accounts[a.ID] = a
}

func (m *memo) contact(account AccountID, peer PeerID) (Contact, bool) {
	c, ok := m.contacts[contactOf{account, peer}]
	if ok {
		c.Policy = maps.Clone(c.Policy)
	}
	return c, ok
}

func (m *memo) putContact(c Contact) {
	if m.contacts == nil {
		m.contacts = make(map[contactOf]Contact)
	}
	c.Policy = maps.Clone(c.Policy)
	m.contacts[contactOf{c.Account, c.Peer}] = c
}

func (m *memo) noSuchNick(n nickOf) {
	if m.noNick == nil {
		m.noNick = make(map[nickOf]bool)
	}
	m.noNick[n] = true
}
