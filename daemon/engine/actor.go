package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"secmsg/daemon/store"
)

// actor is the goroutine that owns an engine's state in memory, and the ways into
// it. Nothing else runs in it:
//
//	do        a function of any goroutine, which waits for the result: queries of
//	          the state, the link's Up and Down, changes that a user asks for
//	worker    a request to the server, outside of the actor, and then its result
//	share     a job in a transaction that others may share: deliveries, answers of
//	          the relay, finished uploads and downloads
//	sends     the same for the messages that users send; after the other jobs
//	together  the pump's own transaction, which the waiting jobs join
//	schedule  a task at a time (tasks.go), from within the actor
//
// Functions and jobs run between two tasks, so that a long row of tasks delays
// neither. A panic in any of them is an error of that one alone.
type actor struct {
	db  *store.Store
	log *slog.Logger

	calls chan func()
	jobs  jobs
	sends jobs
	quit  chan struct{}   // closed when run ends
	work  context.Context // ends with run
	wg    sync.WaitGroup

	// owned by the actor
	tasks map[task]time.Time
	term  *term
}

func newActor(db *store.Store, log *slog.Logger) *actor {
	return &actor{
		db: db, log: log, calls: make(chan func()), jobs: newJobs(), sends: newJobs(), quit: make(chan struct{}),
		tasks: make(map[task]time.Time),
	}
}

// run serves the actor until ctx ends. It starts with begin, and carries tasks out
// with do. It returns after every goroutine of the engine has ended.
func (a *actor) run(ctx context.Context, begin func(), do func(task) error) error {
	ctx, cancel := context.WithCancel(ctx)
	a.work = ctx
	defer func() {
		cancel()
		close(a.quit)
		a.jobs.end()
		a.sends.end()
		a.wg.Wait()
	}()
	begin()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(a.runDue(ctx, do))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f := <-a.calls:
			f()
		case <-a.jobs.wake:
			a.commit()
		case <-a.sends.wake:
			a.commit()
		case <-timer.C:
		}
	}
}

// do runs fn in the actor and returns its error. A panic in fn is an error.
func (a *actor) do(ctx context.Context, fn func() error) error {
	result := make(chan error, 1)
	call := func() { result <- a.guard(fn) }
	select {
	case a.calls <- call:
		return <-result
	case <-ctx.Done():
		return ctx.Err()
	case <-a.quit:
		return errStopped
	}
}

// guard turns a panic into an error, so that one bad item does not end the daemon.
func (a *actor) guard(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			a.log.Error("panic in the engine", "value", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("engine: panic: %v", v)
		}
	}()
	return fn()
}

// term is the time between two changes of the device or of its suspension; see
// suspend.go. Requests to the server belong to the term in which they began, so
// that none of the old device is left when its keys change.
type term struct {
	ctx context.Context // of requests to the server
	end context.CancelFunc
	wg  sync.WaitGroup // workers and the sender
}

// newTerm begins a term; actor only.
func (a *actor) newTerm() *term {
	t := new(term)
	t.ctx, t.end = context.WithCancel(a.work)
	a.term = t
	return t
}

// inTerm runs f in a goroutine of the engine that its term waits for, too.
func (a *actor) inTerm(t *term, f func()) {
	t.wg.Add(1)
	a.wg.Go(func() {
		defer t.wg.Done()
		f()
	})
}

// worker runs work, a request to the server, in a goroutine of the engine, and
// then done in the actor. If the term ends first, done does not run.
func (a *actor) worker(work func(ctx context.Context), done func()) {
	t := a.term
	a.inTerm(t, func() {
		work(t.ctx)
		select {
		case a.calls <- func() {
			if t != a.term || t.ctx.Err() != nil {
				return
			}
			if err := a.guard(func() error { done(); return nil }); err != nil {
				a.log.Error("after a call to the server", "error", err)
			}
		}:
		case <-t.ctx.Done():
		}
	})
}

// share runs fn in a transaction that it may share with other jobs. Then after,
// unless it is nil, runs in the actor with the result, if the engine has not
// ended.
func (a *actor) share(fn func(tx *store.Tx) error, after func(err error)) error {
	result := make(chan error, 1)
	a.jobs.submit(&job{
		tx: fn,
		done: func(err error) {
			if after != nil && !errors.Is(err, errStopped) {
				after(err)
			}
			result <- err
		},
	})
	return <-result
}

// commit runs the queued jobs.
func (a *actor) commit() {
	_ = a.together(nil) // each job gets its own result
}

// together runs fn, unless it is nil, and the queued jobs in one transaction. A
// part that fails is undone alone; only a failure of the store fails them all.
// All of them may run twice; see updateParts. It returns the result of fn.
func (a *actor) together(fn func(tx *store.Tx) error) error {
	group := append(a.jobs.take(maxGroup), a.sends.take(maxGroup)...)
	if fn != nil { // first, since fn relies on rows that were read before these jobs
		group = slices.Insert(group, 0, &job{tx: fn, done: func(error) {}})
	}
	if len(group) == 0 {
		return nil
	}
	errs := make([]error, len(group))
	err := a.guard(func() error {
		return a.updateParts(func(tx *store.Tx) error {
			if len(group) == 1 {
				return group[0].tx(tx)
			}
			for i, j := range group {
				errs[i] = tx.Sub(func() error { return j.tx(tx) })
				if store.EndsTx(errs[i]) {
					return errs[i]
				}
			}
			return nil
		})
	})
	for i, j := range group {
		failed := cmp.Or(err, errs[i])
		if err := a.guard(func() error { j.done(failed); return nil }); err != nil {
			a.log.Error("after a transaction", "error", err)
		}
	}
	return cmp.Or(err, errs[0]) // fn's, if there is one
}

// storeCtx is the context of the actor's transactions. They are short, so the end of
// the engine does not cut them off: an error then would only log
// failures that did not happen.
func (a *actor) storeCtx() context.Context { return context.WithoutCancel(a.work) }

// update runs a transaction of the actor.
func (a *actor) update(fn func(tx *store.Tx) error) error {
	return a.db.Update(a.storeCtx(), fn)
}

// updateParts is update for many parts, each of which is undone alone if it fails.
// fn may run twice: it must not depend on what its first run left behind outside of
// the transaction.
func (a *actor) updateParts(fn func(tx *store.Tx) error) error {
	return a.db.UpdateParts(a.storeCtx(), fn)
}

// schedule makes a task due after d, unless it is due earlier; actor only.
func (a *actor) schedule(t task, d time.Duration) {
	when := time.Now().Add(d)
	if old, ok := a.tasks[t]; !ok || when.Before(old) {
		a.tasks[t] = when
	}
}

// scheduled reports whether a task is due at some time; actor only.
func (a *actor) scheduled(t task) bool {
	_, ok := a.tasks[t]
	return ok
}

// runDue runs the tasks that are due and returns how long until the next one.
func (a *actor) runDue(ctx context.Context, do func(task) error) time.Duration {
	for ctx.Err() == nil {
		t, when := a.nextTask()
		if t == "" {
			return idleWait
		}
		if d := time.Until(when); d > 0 {
			return d
		}
		delete(a.tasks, t)
		if err := a.guard(func() error { return do(t) }); err != nil {
			a.log.Warn("task failed", "task", string(t), "error", err)
			a.schedule(t, failWait)
		}
		// Calls and jobs do not wait for a long row of tasks.
		select {
		case f := <-a.calls:
			f()
		case <-a.jobs.wake:
			a.commit()
		case <-a.sends.wake:
			a.commit()
		default:
		}
	}
	return 0
}

// nextTask returns the task that is due first.
func (a *actor) nextTask() (task, time.Time) {
	var first task
	var due time.Time
	now := time.Now()
	for _, t := range order() {
		when, ok := a.tasks[t]
		if !ok {
			continue
		}
		if !when.After(now) {
			return t, when
		}
		if first == "" || when.Before(due) {
			first, due = t, when
		}
	}
	return first, due
}
