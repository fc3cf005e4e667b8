package store

import (
	"errors"
	"fmt"
)

// Names of counters. Counters of an account or a peer are stored in other tables.
const (
	countEvents  = "event"
	countArrival = "arrival"
	countOrder   = "order"
	countSteps   = "steps" // of an account
	countN       = "n"     // of a peer
)

// counter is incremented in memory until the commit: a burst draws thousands of values, but
// writes each counter once.
type counter struct {
	name    string
	account AccountID
	peer    PeerID
	value   int64
	drawn   bool
}

// next returns the next value of a counter, starting with 1. Committed values are never
// reused.
func (tx *Tx) next(name string) (int64, error) { return tx.draw(name, 0, 0) }

// counter returns the present value of a counter, or 0 if it was never used.
func (tx *Tx) counter(name string) (int64, error) {
	c, err := tx.loadCounter(name, 0, 0)
	if err != nil {
		return 0, err
	}
	return c.value, nil
}

func (tx *Tx) draw(name string, account AccountID, peer PeerID) (int64, error) {
	c, err := tx.loadCounter(name, account, peer)
	if err != nil {
		return 0, err
	}
	c.value++
	c.drawn = true
	return c.value, nil
}

// loadCounter returns a counter of this transaction. The pointer is valid until the next
// call.
func (tx *Tx) loadCounter(name string, account AccountID, peer PeerID) (*counter, error) {
	for i := range tx.counters {
		if c := &tx.counters[i]; c.name == name && c.account == account && c.peer == peer {
			return c, nil
		}
	}
	c := counter{name: name, account: account, peer: peer}
	var err error
	switch name {
	case countSteps:
		err = tx.get(`SELECT steps FROM accounts WHERE id = ?`, []any{account}, &c.value)
		if err != nil {
			return nil, err
		}
	case countN:
		err = tx.get(`SELECT last FROM sent_n WHERE account = ? AND peer = ?`, []any{account, peer}, &c.value)
	default:
		err = tx.get(`SELECT value FROM counters WHERE name = ?`, []any{name}, &c.value)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	tx.counters = append(tx.counters, c)
	return &tx.counters[len(tx.counters)-1], nil
}

// flush writes the counters and sessions that the transaction holds in memory, before the
// commit and before a statement that bypasses them.
func (tx *Tx) flush() error {
	for _, c := range tx.counters {
		if !c.drawn {
			continue
		}
		if err := tx.saveCounter(c); err != nil {
			return fmt.Errorf("counter %s: %w", c.name, err)
		}
	}
	for _, s := range tx.sessions {
		if err := tx.writeSessions(s); err != nil {
			return err
		}
	}
	tx.counters, tx.sessions, tx.memo = nil, nil, memo{}
	return nil
}

func (tx *Tx) saveCounter(c counter) error {
	switch c.name {
	case countSteps:
		return tx.exec(`UPDATE accounts SET steps = ? WHERE id = ?`, c.value, c.account)
	case countN:
		return tx.exec(`INSERT INTO sent_n (account, peer, last) VALUES (?, ?, ?)
			ON CONFLICT (account, peer) DO UPDATE SET last = excluded.last`, c.account, c.peer, c.value)
	}
	return tx.exec(`INSERT INTO counters (name, value) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, c.name, c.value)
}
