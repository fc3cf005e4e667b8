package ratchet

import "time"

// Prefer returns the session that should send.
func Prefer(a, b *Session, now time.Time) *Session {
	if prefers(a.st, b.st, unix(now)) {
		return a
	}
	return b
}

// Initiator reports whether this end began the session.
func (s *Session) Initiator() bool { return s.st.role == roleInitiator }

// Fits reports whether an envelope belongs to the session: an initial message by its handshake, any
// other by at most [MaxOldHeaderKeys] + 2 header keys. It says nothing about the body.
func (s *Session) Fits(m Meta, ciphertext []byte) bool {
	if m.check(s.st.peer, s.st.self) != nil {
		return false
	}
	e, err := parseEnvelope(ciphertext)
	if err != nil {
		return false
	}
	_, err = s.st.locate(m, e, &work{})
	return err == nil
}
