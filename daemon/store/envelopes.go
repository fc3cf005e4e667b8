package store

// Status of an envelope. The numbers are stored.
const (
	EnvelopePending  = 1 // no answer yet
	EnvelopeAccepted = 2
	EnvelopeRejected = 3 // final
	EnvelopeAsked    = 4 // the device could not open it, and it waits to be sealed again
)

// Envelope is one ciphertext for one device. It is sealed once; every try sends the same
// bytes.
type Envelope struct {
	Account    AccountID
	ID         MessageID
	Device     [16]byte
	Peer       PeerID // the recipient account, which is the own one for copies
	Ord        int64  // order of sealing; set by PutEnvelope
	Own        bool   // a copy for an own device; it does not affect the message's state
	Filler     bool   // its message has failed and it carries nothing, but the relay waits for this id
	Status     int
	Reason     int32 // why it was rejected, as on the wire
	Manifest   uint64
	ExpiresMS  int64
	Ciphertext []byte
}

// PutEnvelope stores a new envelope. It replaces an earlier one of the same message and
// device.
func (tx *Tx) PutEnvelope(e *Envelope) error {
	ord, err := tx.next(countOrder)
	if err != nil {
		return err
	}
	e.Ord = ord
	ciphertext := e.Ciphertext
	if ciphertext == nil { // nothing could be sealed for the device
		ciphertext = []byte{}
	}
	return tx.exec(`INSERT INTO envelopes (account, id, device, peer, ord, own, filler, status, reason, manifest, expires_ms, ciphertext)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, id, device) DO UPDATE SET peer = excluded.peer, ord = excluded.ord, own = excluded.own,
			filler = excluded.filler, status = excluded.status, reason = excluded.reason, manifest = excluded.manifest,
			expires_ms = excluded.expires_ms, ciphertext = excluded.ciphertext`,
		e.Account, e.ID[:], e.Device[:], e.Peer, e.Ord, e.Own, e.Filler, e.Status, e.Reason, e.Manifest, e.ExpiresMS, ciphertext)
}

// AnswerEnvelope records the relay's answer and drops the ciphertext, which is no longer
// needed. It reports whether the envelope was pending.
func (tx *Tx) AnswerEnvelope(account AccountID, id MessageID, device [16]byte, status int, reason int32) (bool, error) {
	n, err := tx.execN(`UPDATE envelopes SET status = ?, reason = ?, ciphertext = x''
		WHERE account = ? AND id = ? AND device = ? AND status = 1`, status, reason, account, id[:], device[:])
	return n > 0, err
}

// RejectEnvelope records that an accepted envelope was dropped later, according to a
// notice.
func (tx *Tx) RejectEnvelope(account AccountID, id MessageID, device [16]byte, reason int32) (bool, error) {
	n, err := tx.execN(`UPDATE envelopes SET status = 3, reason = ?, ciphertext = x''
		WHERE account = ? AND id = ? AND device = ? AND status <> 3`, reason, account, id[:], device[:])
	return n > 0, err
}

// AskEnvelope records that a device asked for an envelope again that was pending or
// accepted, and reports whether it was.
func (tx *Tx) AskEnvelope(account AccountID, id MessageID, device [16]byte) (bool, error) {
	n, err := tx.execN(`UPDATE envelopes SET status = 4, ciphertext = x''
		WHERE account = ? AND id = ? AND device = ? AND status IN (1, 2)`, account, id[:], device[:])
	return n > 0, err
}

// Unask ends a request that cannot be answered. The device may ask again.
func (tx *Tx) Unask(account AccountID, id MessageID, device [16]byte) error {
	return tx.exec(`UPDATE envelopes SET status = 2 WHERE account = ? AND id = ? AND device = ? AND status = 4`, account, id[:], device[:])
}

// AskedEnvelopes returns up to limit envelopes that wait to be sealed again, in order,
// except those for the peers in except.
func (tx *Tx) AskedEnvelopes(account AccountID, except []PeerID, limit int) ([]Envelope, error) {
	skip, err := jsonList(except)
	if err != nil {
		return nil, err
	}
	return tx.envelopes(`SELECT account, id, device, peer, ord, own, filler, status, reason, manifest, expires_ms, x''
		FROM envelopes WHERE account = ? AND status = 4 AND peer NOT IN (SELECT value FROM json_each(?)) ORDER BY ord LIMIT ?`,
		account, skip, limit)
}

// ExpireEnvelopes deletes the answered envelopes of delivered messages after the time in
// which a device may ask for them.
func (tx *Tx) ExpireEnvelopes(account AccountID, ms int64) error {
	return tx.exec(`DELETE FROM envelopes WHERE account = ?1 AND status <> 1 AND expires_ms <= ?2
		AND id NOT IN (SELECT id FROM outbox WHERE account = ?1)`, account, ms)
}

// DeleteEnvelope removes one envelope.
func (tx *Tx) DeleteEnvelope(account AccountID, id MessageID, device [16]byte) error {
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND device = ?`, account, id[:], device[:])
}

// PendingEnvelopes returns up to limit pending envelopes with ord greater than after, in
// order, except those of held messages.
func (tx *Tx) PendingEnvelopes(account AccountID, after int64, limit int) ([]Envelope, error) {
	return tx.envelopes(`SELECT account, id, device, peer, ord, own, filler, status, reason, manifest, expires_ms, ciphertext
		FROM envelopes WHERE account = ?1 AND status = 1 AND ord > ?2 AND id NOT IN
			(SELECT id FROM outbox INDEXED BY outbox_held WHERE account = ?1 AND phase = 4) ORDER BY ord LIMIT ?3`, account, after, limit)
}

// EnvelopesOf returns the envelopes of a message, including own copies, without their
// ciphertexts.
func (tx *Tx) EnvelopesOf(account AccountID, id MessageID) ([]Envelope, error) {
	return tx.envelopes(`SELECT account, id, device, peer, ord, own, filler, status, reason, manifest, expires_ms, x''
		FROM envelopes WHERE account = ? AND id = ? ORDER BY ord`, account, id[:])
}

// EnvelopeHead returns one envelope without its ciphertext, or ErrNotFound.
func (tx *Tx) EnvelopeHead(account AccountID, id MessageID, device [16]byte) (*Envelope, error) {
	return tx.envelope(account, id, device, "x''")
}

// Envelope returns one envelope with its ciphertext, or ErrNotFound.
func (tx *Tx) Envelope(account AccountID, id MessageID, device [16]byte) (*Envelope, error) {
	return tx.envelope(account, id, device, "ciphertext")
}

func (tx *Tx) envelope(account AccountID, id MessageID, device [16]byte, ciphertext string) (*Envelope, error) {
	list, err := tx.envelopes(`SELECT account, id, device, peer, ord, own, filler, status, reason, manifest, expires_ms, `+ciphertext+`
		FROM envelopes WHERE account = ? AND id = ? AND device = ?`, account, id[:], device[:])
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

func (tx *Tx) envelopes(query string, args ...any) ([]Envelope, error) {
	var out []Envelope
	err := tx.each(query, args, func(scan func(...any) error) error {
		var e Envelope
		var id, device []byte
		if err := scan(&e.Account, &id, &device, &e.Peer, &e.Ord, &e.Own, &e.Filler, &e.Status, &e.Reason,
			&e.Manifest, &e.ExpiresMS, &e.Ciphertext); err != nil {
			return err
		}
		copy(e.ID[:], id)
		copy(e.Device[:], device)
		out = append(out, e)
		return nil
	})
	return out, err
}
