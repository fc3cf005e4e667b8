package store

import (
	"bytes"
	"slices"
)

// sessionSet holds the sessions with one device in a transaction: each message of a burst
// changes them, but they are written once. A set is immutable, so that undoing a part of
// the transaction restores the previous one.
type sessionSet struct {
	device DeviceRef
	list   []Session
	dirty  [][32]byte // to be written
}

// held returns the index of the sessions with a device in the transaction, or -1.
func (tx *Tx) held(d DeviceRef) int {
	return slices.IndexFunc(tx.sessions, func(s sessionSet) bool { return s.device == d })
}

// clone returns the sessions with copies of the bodies, which the caller may clear.
func (s sessionSet) clone() []Session {
	list := slices.Clone(s.list)
	for i := range list {
		list[i].Body = bytes.Clone(list[i].Body)
	}
	return list
}

// with returns the set with a new or changed session.
func (s sessionSet) with(one Session) sessionSet {
	one.Body = bytes.Clone(one.Body)
	out := sessionSet{device: s.device, list: slices.Clone(s.list), dirty: s.dirty}
	if i := slices.IndexFunc(out.list, func(x Session) bool { return x.ID == one.ID }); i >= 0 {
		out.list[i] = one
	} else {
		out.list = append(out.list, one)
	}
	if !slices.Contains(s.dirty, one.ID) {
		out.dirty = append(slices.Clone(s.dirty), one.ID)
	}
	return out
}

// writeSessions seals and writes the changed sessions of a set, and clears it.
func (tx *Tx) writeSessions(set sessionSet) error {
	d := set.device
	for _, s := range set.list {
		if slices.Contains(set.dirty, s.ID) {
			body := s.Body
			if s.State != nil {
				body = s.State.Marshal()
			}
			sealed, err := tx.seal("sessions", "body", sessionRow(d, s.ID), body)
			if s.State != nil {
				clear(body)
			}
			if err != nil {
				return err
			}
			err = tx.exec(`INSERT INTO sessions (account, peer, device, session, body) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (account, peer, device, session) DO UPDATE SET body = excluded.body`,
				d.Account, d.Peer, d.Device[:], s.ID[:], sealed)
			if err != nil {
				return err
			}
		}
		if tx.depth == 0 { // otherwise it is needed again if this part is undone
			clear(s.Body)
		}
	}
	return nil
}
