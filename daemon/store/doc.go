// Package store is the daemon's database: one SQLite file for each profile
// with the schema, its migrations and typed methods on a transaction. No SQL
// stands outside of it.
//
// Values that tell who writes to whom or what is said are sealed by a [Box]
// inside the transaction; without one (a locked profile) they give
// [ErrLocked]. Accounts and peers are named by numbers everywhere, so that no
// address stands in clear.
//
// A Store is safe for concurrent use. [Store.Update] runs one writer at a time
// and returns after the commit is fsynced (WAL, synchronous=FULL); [Store.View]
// reads a snapshot. A Tx belongs to the function it is passed to and is not
// safe for concurrent use. A Store lives until Close, which waits for its
// goroutine and truncates the WAL.
package store
