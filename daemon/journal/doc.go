// Package journal is the daemon's ordered log of events, with subscriptions and named
// consumers that have durable cursors.
//
// An event is appended in the transaction of the change it reports, so both are stored or
// neither. A subscriber reads from the store by seq at its own pace; commits only wake it.
// It gets every event once, in the order of seq, and a slow subscriber delays nobody else.
// A Journal is safe for concurrent use until Close, which ends all subscriptions and waits
// for them.
package journal
