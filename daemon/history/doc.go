// Package history keeps the visible history of one account: messages with their
// states, files, calls, and the events about them. It writes the rows, appends
// the events to the journal, and answers the queries of inbox, history, outbox,
// file list and call list.
//
// Every function works inside a transaction that the caller passes in and owns,
// so a row, its event and whatever the caller changes beside them are committed
// together or not at all. The package starts no goroutine, holds no private key
// and knows no network: sealing and delivery belong to the engine, which learns
// through Hooks, after the commit, that there is something to do.
//
// A row that is damaged on disk never hides its neighbours. A system event
// appears in its place, and the damage is logged and counted.
package history
