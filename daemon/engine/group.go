package engine

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"secmsg/daemon/store"
)

// maxGroup bounds the jobs of one transaction, so that the first of a burst
// does not wait for the disk as long as the last.
const maxGroup = 128

// job is work in a transaction that it may share with other jobs: under load
// one commit, which waits for the disk once, serves all that came during the
// one before it. Alone it waits for nothing and nobody. The engine that carries
// it out is told to it: a send may outlive the engine that it was queued at.
type job struct {
	tx func(e *Engine, tx *store.Tx) error
	// done is told in the actor what became of it: after the commit, or after
	// it alone, or the transaction, was undone. Without an engine (e is nil) it
	// is told elsewhere that there will be none.
	done func(e *Engine, err error)
}

// Sends are the sends of an account that wait for its engine, in the order in
// which they were submitted. They outlive an engine: when the device is
// replaced, the next one goes on with them. The owner ends them with End.
type Sends struct{ jobs jobs }

// NewSends makes the queue of an account, for Options.Sends of each of its engines.
func NewSends() *Sends { return &Sends{jobs: newJobs()} }

// End refuses all sends that wait and those to come: no engine follows.
func (s *Sends) End() { s.jobs.end() }

// jobs is a queue of jobs, in the order in which they were put in.
type jobs struct {
	wake chan struct{}

	mu    sync.Mutex
	list  []*job // guarded by mu
	ended bool   // guarded by mu; nobody carries out any more
}

func newJobs() jobs { return jobs{wake: make(chan struct{}, 1)} }

// submit queues a job. Jobs are carried out in the order of these calls; when
// the queue has ended, done is told so at once.
func (q *jobs) submit(j *job) {
	q.mu.Lock()
	ended := q.ended
	if !ended {
		q.list = append(q.list, j)
	}
	q.mu.Unlock()
	if ended {
		j.done(nil, errStopped)
		return
	}
	q.poke()
}

// withdraw takes a job back that no engine has begun, and reports whether it could.
func (q *jobs) withdraw(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.list)
	q.list = slices.DeleteFunc(q.list, func(x *job) bool { return x == j })
	return len(q.list) < n
}

// share runs fn in a transaction that it may share, and then, in the actor,
// after with what became of it, unless after is nil or the engine has stopped.
func (e *Engine) share(fn func(tx *store.Tx) error, after func(err error)) error {
	result := make(chan error, 1)
	e.jobs.submit(&job{
		tx: func(_ *Engine, tx *store.Tx) error { return fn(tx) },
		done: func(_ *Engine, err error) {
			if after != nil && !errors.Is(err, errStopped) {
				after(err)
			}
			result <- err
		},
	})
	return <-result
}

func (q *jobs) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next jobs, n at most.
func (q *jobs) take(n int) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(len(q.list), n)
	group := slices.Clone(q.list[:n])
	q.list = slices.Delete(q.list, 0, n)
	if len(q.list) > 0 {
		q.poke()
	}
	return group
}

// end tells all jobs that there are, and those to come, that nobody carries
// them out.
func (q *jobs) end() {
	q.mu.Lock()
	list := q.list
	q.list, q.ended = nil, true
	q.mu.Unlock()
	for _, j := range list {
		j.done(nil, errStopped)
	}
}

// commit carries out what is queued.
func (e *Engine) commit() {
	_ = e.together(nil) // each job is told
}

// together runs fn, unless it is nil, and carries out what is queued: each in a
// part of one transaction that is undone alone if it fails. Only a failure of
// the store fails them all. All of them may run twice; see updateParts. It
// returns what became of fn.
func (e *Engine) together(fn func(tx *store.Tx) error) error {
	group := append(e.jobs.take(maxGroup), e.sends.jobs.take(maxGroup)...)
	if fn != nil { // before the others: it goes by what was read before them
		group = slices.Insert(group, 0, &job{tx: func(_ *Engine, tx *store.Tx) error { return fn(tx) }, done: func(*Engine, error) {}})
	}
	if len(group) == 0 {
		return nil
	}
	errs := make([]error, len(group))
	err := e.guard(func() error {
		return e.updateParts(func(tx *store.Tx) error {
			if len(group) == 1 {
				return group[0].tx(e, tx)
			}
			for i, j := range group {
				errs[i] = tx.Sub(func() error { return j.tx(e, tx) })
				if store.EndsTx(errs[i]) {
					return errs[i]
				}
			}
			return nil
		})
	})
	for i, j := range group {
		failed := cmp.Or(err, errs[i])
		if err := e.guard(func() error { j.done(e, failed); return nil }); err != nil {
			e.logger.Error("after a transaction", "error", err)
		}
	}
	return cmp.Or(err, errs[0]) // fn's, if there is one
}
