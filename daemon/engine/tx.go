package engine

import (
	"context"

	"secmsg/daemon/store"
)

// Transactions return values instead of writing variables of their caller. A
// transaction that is shared with others may run twice, so this is the rule for
// all of them; side effects outside of the store belong into Tx.OnCommit.

// inTx runs a transaction of the actor and returns its result; actor only.
func inTx[T any](e *Engine, fn func(tx *store.Tx) (T, error)) (T, error) {
	return result(fn, e.update)
}

// inSharedTx runs a transaction that may share its commit with others; see
// Engine.share. It is called from outside of the actor.
func inSharedTx[T any](e *Engine, fn func(tx *store.Tx) (T, error)) (T, error) {
	return result(fn, func(fn func(tx *store.Tx) error) error { return e.share(fn, nil) })
}

// inView runs a read-only transaction and returns its result.
func inView[T any](ctx context.Context, e *Engine, fn func(tx *store.Tx) (T, error)) (T, error) {
	return result(fn, func(fn func(tx *store.Tx) error) error { return e.store.View(ctx, fn) })
}

// inActor runs fn in the actor and returns its result.
func inActor[T any](ctx context.Context, e *Engine, fn func() (T, error)) (T, error) {
	var out T
	err := e.do(ctx, func() (err error) {
		out, err = fn()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

func result[T any](fn func(tx *store.Tx) (T, error), run func(func(tx *store.Tx) error) error) (T, error) {
	var out T
	err := run(func(tx *store.Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}
