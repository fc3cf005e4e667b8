package store

// Consumer is a named reader of the journal.
type Consumer struct {
	Name      string
	Cursor    int64 // all events up to this seq are done
	CreatedMS int64 // Unix milliseconds
	AckedMS   int64 // 0: never
	Missed    int64 // events that expired before they were done
	Dead      int64 // dead letters: events that its handler never accepted
	// Retry is the maximum number of retries of an event and DeadAfterMS the maximum time
	// for them, before it becomes a dead letter. NotSet: the defaults.
	Retry       int64
	DeadAfterMS int64
}

// NotSet is the value of a setting that was not chosen.
const NotSet = -1

const consumerColumns = `name, cursor, created_ms, acked_ms, missed, dead, retry, dead_after_ms`

func scanConsumer(scan func(...any) error) (c Consumer, err error) {
	err = scan(&c.Name, &c.Cursor, &c.CreatedMS, &c.AckedMS, &c.Missed, &c.Dead, &c.Retry, &c.DeadAfterMS)
	return c, err
}

// Consumer returns a consumer, or ErrNotFound.
func (tx *Tx) Consumer(name string) (Consumer, error) {
	return scanConsumer(func(dest ...any) error {
		return tx.get(`SELECT `+consumerColumns+` FROM consumers WHERE name = ?`, []any{name}, dest...)
	})
}

// Consumers returns all consumers by name.
func (tx *Tx) Consumers() ([]Consumer, error) {
	var out []Consumer
	err := tx.each(`SELECT `+consumerColumns+` FROM consumers ORDER BY name`, nil, func(scan func(...any) error) error {
		c, err := scanConsumer(scan)
		out = append(out, c)
		return err
	})
	return out, err
}

// InsertConsumer adds a consumer.
func (tx *Tx) InsertConsumer(c Consumer) error {
	return tx.exec(`INSERT INTO consumers (name, cursor, created_ms, acked_ms, retry, dead_after_ms) VALUES (?, ?, ?, ?, ?, ?)`,
		c.Name, c.Cursor, c.CreatedMS, c.AckedMS, c.Retry, c.DeadAfterMS)
}

// SetConsumerRetry sets the number of retries of an event.
func (tx *Tx) SetConsumerRetry(name string, n int) error {
	return tx.exec(`UPDATE consumers SET retry = ? WHERE name = ?`, n, name)
}

// SetConsumerDeadAfter sets how long an event is retried, in milliseconds.
func (tx *Tx) SetConsumerDeadAfter(name string, ms int64) error {
	return tx.exec(`UPDATE consumers SET dead_after_ms = ? WHERE name = ?`, ms, name)
}

// AckConsumer moves a cursor forward, never back. It fails with ErrNotFound if there is no
// such consumer. ms is the time of the acknowledgement, or 0 if the cursor only passes
// events excluded by a filter.
func (tx *Tx) AckConsumer(name string, cursor, ms int64) error {
	n, err := tx.execN(`UPDATE consumers SET cursor = max(cursor, ?1), acked_ms = iif(?2 > 0, ?2, acked_ms) WHERE name = ?3`, cursor, ms, name)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// DeleteConsumer removes a consumer, or fails with ErrNotFound.
func (tx *Tx) DeleteConsumer(name string) error {
	n, err := tx.execN(`DELETE FROM consumers WHERE name = ?`, name)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
