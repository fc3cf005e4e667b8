// Package journal is the daemon's ordered record of events and what reads it:
// subscriptions and named consumers with durable cursors.
//
// An event is appended inside the transaction of what it tells about, so both
// are there or neither. A subscriber reads from the store by seq at its own
// pace and is only woken by commits: it gets every event once, in the order of
// seq, and a slow one delays nobody. A Journal is safe for concurrent use and
// lives until Close, which ends all subscriptions and waits for them.
package journal
