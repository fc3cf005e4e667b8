package engine

import (
	"cmp"
	"errors"
	"sync"

	"secmsg/daemon/store"
)

// maxGroup bounds the jobs of one transaction, so that the first of a burst
// does not wait for the disk as long as the last.
const maxGroup = 128

// job is work in a transaction that it may share with other jobs: under load
// one commit, which waits for the disk once, serves all that came during the
// one before it. Alone it waits for nothing and nobody.
type job struct {
	tx func(tx *store.Tx) error
	// done is told in the actor what became of it: after the commit, or after
	// it alone, or the transaction, was undone.
	done func(err error)
}

// jobs is the queue of jobs, in the order in which they were put in.
type jobs struct {
	wake chan struct{}

	mu    sync.Mutex
	list  []job // guarded by mu
	ended bool  // guarded by mu; the engine has stopped
}

// submit queues a job. Jobs are carried out in the order of these calls; when
// the engine has ended, done is told so at once.
func (e *Engine) submit(j job) {
	e.jobs.mu.Lock()
	ended := e.jobs.ended
	if !ended {
		e.jobs.list = append(e.jobs.list, j)
	}
	e.jobs.mu.Unlock()
	if ended {
		j.done(errStopped)
		return
	}
	e.jobs.poke()
}

// share runs fn in a transaction that it may share, and then, in the actor,
// after with what became of it, unless after is nil or the engine has stopped.
func (e *Engine) share(fn func(tx *store.Tx) error, after func(err error)) error {
	result := make(chan error, 1)
	e.submit(job{tx: fn, done: func(err error) {
		if after != nil && !errors.Is(err, errStopped) {
			after(err)
		}
		result <- err
	}})
	return <-result
}

func (q *jobs) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next group.
func (q *jobs) take() []job {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.list), maxGroup)
	group := q.list[:n:n]
	if q.list = q.list[n:]; len(q.list) > 0 {
		q.poke()
	}
	return group
}

// end tells all jobs that there are, and those to come, that the engine stopped.
func (q *jobs) end() {
	q.mu.Lock()
	list := q.list
	q.list, q.ended = nil, true
	q.mu.Unlock()
	for _, j := range list {
		j.done(errStopped)
	}
}

// commit carries out what is queued: each job in a part of one transaction that
// is undone alone if the job fails. Only a failure of the store fails them all.
func (e *Engine) commit() {
	group := e.jobs.take()
	if len(group) == 0 {
		return
	}
	errs := make([]error, len(group))
	err := e.guard(func() error {
		return e.update(func(tx *store.Tx) error {
			if len(group) == 1 {
				return group[0].tx(tx)
			}
			for i, j := range group {
				errs[i] = tx.Sub(func() error { return j.tx(tx) })
				if breaks(errs[i]) {
					return errs[i]
				}
			}
			return nil
		})
	})
	for i, j := range group {
		failed := cmp.Or(err, errs[i])
		if err := e.guard(func() error { j.done(failed); return nil }); err != nil {
			e.logger.Error("after a transaction", "error", err)
		}
	}
}
