package store

// Failure is an event that a consumer's handler has not accepted.
type Failure struct {
	Seq      int64
	Attempts int
	LastMS   int64 // Unix milliseconds of the last attempt
}

// AddFailure counts an attempt for an event at ms, and at profile time now. It returns the
// number of attempts and the profile time of the first.
func (tx *Tx) AddFailure(consumer string, seq, ms, now int64) (n int, first int64, err error) {
	err = tx.get(`INSERT INTO failures (consumer, seq, attempts, last_ms, first_ms, dead) VALUES (?1, ?2, 1, ?3, ?4, 0)
		ON CONFLICT (consumer, seq) DO UPDATE SET attempts = attempts + 1, last_ms = excluded.last_ms,
			first_ms = CASE first_ms WHEN 0 THEN excluded.first_ms ELSE first_ms END
		RETURNING attempts, first_ms`, []any{consumer, seq, ms, now}, &n, &first)
	return n, first, err
}

// BuryFailure makes an event a dead letter of a consumer. Only the newest keep dead letters
// are kept.
func (tx *Tx) BuryFailure(consumer string, seq int64, keep int) error {
	if err := tx.exec(`UPDATE failures SET dead = 1 WHERE consumer = ? AND seq = ?`, consumer, seq); err != nil {
		return err
	}
	if err := tx.exec(`UPDATE consumers SET dead = dead + 1 WHERE name = ?`, consumer); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM failures WHERE consumer = ?1 AND dead = 1 AND seq NOT IN
		(SELECT seq FROM failures WHERE consumer = ?1 AND dead = 1 ORDER BY seq DESC LIMIT ?2)`, consumer, keep)
}

// ForgetFailures deletes the counts of events that were accepted in the end.
func (tx *Tx) ForgetFailures(consumer string, cursor int64) error {
	return tx.exec(`DELETE FROM failures WHERE consumer = ? AND seq <= ? AND dead = 0`, consumer, cursor)
}

// DeadLetters returns the dead letters of a consumer, oldest first.
func (tx *Tx) DeadLetters(consumer string) ([]Failure, error) {
	var out []Failure
	err := tx.each(`SELECT seq, attempts, last_ms FROM failures WHERE consumer = ? AND dead = 1 ORDER BY seq`, []any{consumer},
		func(scan func(...any) error) error {
			var f Failure
			if err := scan(&f.Seq, &f.Attempts, &f.LastMS); err != nil {
				return err
			}
			out = append(out, f)
			return nil
		})
	return out, err
}
