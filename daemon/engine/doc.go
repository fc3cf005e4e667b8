// Package engine is the heart of the daemon: for one account it turns what the
// user wants to say into sealed envelopes, and what arrives into history,
// events and receipts, so that the promise of delivery holds: nothing that
// was accepted is lost, nothing is shown twice, and every state is true.
//
// One actor goroutine owns an account's state in memory; everything that must
// survive is in the store, changed in one transaction with what it belongs to.
// No network call stands inside a transaction: those run in workers that the
// actor starts, and come back to it. All methods are safe for concurrent use
// while Run runs; Run returns after every goroutine of the engine has ended.
package engine
