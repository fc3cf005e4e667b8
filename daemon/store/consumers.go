package store

// Consumer is a named reader of the journal.
type Consumer struct {
	Name      string
	Cursor    int64 // everything up to this seq is done
	CreatedMS int64 // Unix milliseconds
	AckedMS   int64 // 0: never
	Missed    int64 // events that retention ended before they were done
}

// Consumer returns a consumer, or ErrNotFound.
func (tx *Tx) Consumer(name string) (Consumer, error) {
	c := Consumer{Name: name}
	err := tx.get(`SELECT cursor, created_ms, acked_ms, missed FROM consumers WHERE name = ?`, []any{name},
		&c.Cursor, &c.CreatedMS, &c.AckedMS, &c.Missed)
	return c, err
}

// Consumers returns all consumers by name.
func (tx *Tx) Consumers() ([]Consumer, error) {
	var out []Consumer
	err := tx.each(`SELECT name, cursor, created_ms, acked_ms, missed FROM consumers ORDER BY name`, nil,
		func(scan func(...any) error) error {
			var c Consumer
			if err := scan(&c.Name, &c.Cursor, &c.CreatedMS, &c.AckedMS, &c.Missed); err != nil {
				return err
			}
			out = append(out, c)
			return nil
		})
	return out, err
}

// InsertConsumer adds a consumer.
func (tx *Tx) InsertConsumer(c Consumer) error {
	return tx.exec(`INSERT INTO consumers (name, cursor, created_ms, acked_ms) VALUES (?, ?, ?, ?)`,
		c.Name, c.Cursor, c.CreatedMS, c.AckedMS)
}

// AckConsumer moves a cursor forward, never back; ErrNotFound if there is no
// such consumer. ms is the time of the acknowledgement, 0 if there was none
// and the cursor only passes over what a filter left out.
func (tx *Tx) AckConsumer(name string, cursor, ms int64) error {
	n, err := tx.execN(`UPDATE consumers SET cursor = max(cursor, ?1), acked_ms = iif(?2 > 0, ?2, acked_ms) WHERE name = ?3`, cursor, ms, name)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// DeleteConsumer removes a consumer; ErrNotFound if there is none.
func (tx *Tx) DeleteConsumer(name string) error {
	n, err := tx.execN(`DELETE FROM consumers WHERE name = ?`, name)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
