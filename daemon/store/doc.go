// Package store is the daemon's database: one SQLite file for each profile, with the
// schema, its migrations and typed methods on a transaction. There is no SQL outside of it.
//
// Values that reveal who writes to whom, or message content, are sealed by a [Box] inside
// the transaction. Without a Box (a locked profile) they fail with [ErrLocked]. Accounts
// and peers are identified by numbers everywhere, so no address is stored in clear.
//
// A Store is safe for concurrent use. [Store.Update] runs one writer at a time and returns
// after the commit is fsynced (WAL, synchronous=FULL); [Store.View] reads a snapshot. A Tx
// belongs to the function it is passed to and is not safe for concurrent use. Close waits
// for the store's goroutine and truncates the WAL.
package store
