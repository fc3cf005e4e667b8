package engine

import (
	"slices"
	"sync"

	"secmsg/daemon/store"
)

// maxGroup bounds the jobs that one transaction takes from each queue, so that the first of a burst
// does not wait for the disk as long as the last.
const maxGroup = 128

// job is work in a transaction that it may share with other jobs: under load one
// commit, which waits for the disk once, serves all jobs that came during the
// commit before it. A job that is alone commits at once.
type job struct {
	tx func(tx *store.Tx) error
	// done runs in the actor after the commit, or after the job or the whole
	// transaction was undone. If the engine has ended, it runs elsewhere, with
	// errStopped.
	done func(err error)
}

// jobs is a queue of jobs, first in, first out.
type jobs struct {
	wake chan struct{}

	mu    sync.Mutex
	list  []*job // guarded by mu
	ended bool   // guarded by mu
}

func newJobs() jobs { return jobs{wake: make(chan struct{}, 1)} }

// submit queues a job. Jobs run in the order of these calls. After end the job is
// refused at once.
func (q *jobs) submit(j *job) {
	q.mu.Lock()
	ended := q.ended
	if !ended {
		q.list = append(q.list, j)
	}
	q.mu.Unlock()
	if ended {
		j.done(errStopped)
		return
	}
	q.poke()
}

// withdraw takes back a job that has not begun, and reports whether it could.
func (q *jobs) withdraw(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.list)
	q.list = slices.DeleteFunc(q.list, func(x *job) bool { return x == j })
	return len(q.list) < n
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

// end refuses all jobs that wait and all later ones.
func (q *jobs) end() {
	q.mu.Lock()
	list := q.list
	q.list, q.ended = nil, true
	q.mu.Unlock()
	for _, j := range list {
		j.done(errStopped)
	}
}
