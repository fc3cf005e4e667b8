package engine

import (
	"context"
	"time"
)

// task names something that the actor does at a time.
type task string

const (
	taskLoad       task = "load"       // read what is pending from the store
	taskLocked     task = "locked"     // move what a locked profile queued
	taskRelease    task = "release"    // look at held messages again
	taskQuarantine task = "quarantine" // look at quarantined envelopes again
	taskPump       task = "pump"       // look for what is queued, seal and send
	taskTransmit   task = "transmit"   // send what is sealed; look only if the last look left something
	taskReceipts   task = "receipts"   // queue receipts that are due
	taskAskAgain   task = "ask again"  // ask again for what did not open
	taskReseal     task = "reseal"     // seal again what devices asked for
	taskGaps       task = "gaps"       // tell of missing counters
	taskRelations  task = "relations"  // push contact relations
	taskSubscribe  task = "subscribe"  // presence
	taskUpkeep     task = "upkeep"     // prekeys, certificate, own manifest
	taskClaims     task = "claims"     // fetch manifests that messages name
	taskSweep      task = "sweep"      // retention
	taskExpire     task = "expire"     // the outbox's expiries
	taskFiles      task = "files"      // the expiries of files
	taskAccept     task = "accept"     // files of strangers who have become contacts
)

// idleWait is how long the actor sleeps when nothing is due.
const idleWait = time.Hour

// failWait is how long a task waits after the store refused it, on a full disk
// for example.
const failWait = 5 * time.Second

// at makes a task due after d, unless it is due earlier.
func (e *Engine) at(t task, d time.Duration) {
	when := time.Now().Add(d)
	if old, ok := e.tasks[t]; !ok || when.Before(old) {
		e.tasks[t] = when
	}
}

// runDue runs the tasks that are due and returns how long until the next one.
func (e *Engine) runDue(ctx context.Context) time.Duration {
	for ctx.Err() == nil {
		t, when := e.nextTask()
		if t == "" {
			return idleWait
		}
		if d := time.Until(when); d > 0 {
			return d
		}
		delete(e.tasks, t)
		if err := e.guard(func() error { return e.run(t) }); err != nil {
			e.logger.Warn("task failed", "task", string(t), "error", err)
			e.at(t, failWait)
		}
		// Calls do not wait for a long row of tasks.
		select {
		case f := <-e.calls:
			f()
		case <-e.jobs.wake:
			e.commit()
		case <-e.sends.wake:
			e.commit()
		default:
		}
	}
	return 0
}

// order is the order of tasks that are due at the same time: what is read and
// released comes before what sends it.
func order() []task {
	return []task{taskLoad, taskLocked, taskRelease, taskQuarantine, taskGaps, taskExpire, taskReceipts, taskAskAgain, taskReseal,
		taskPump, taskTransmit, taskRelations, taskSubscribe, taskUpkeep, taskClaims, taskSweep, taskFiles, taskAccept}
}

// nextTask returns the task that is due first.
func (e *Engine) nextTask() (task, time.Time) {
	var first task
	var at time.Time
	now := time.Now()
	for _, t := range order() {
		when, ok := e.tasks[t]
		if !ok {
			continue
		}
		if !when.After(now) {
			return t, when
		}
		if first == "" || when.Before(at) {
			first, at = t, when
		}
	}
	return first, at
}

func (e *Engine) run(t task) error {
	if !e.loaded && t != taskLoad {
		e.at(taskLoad, 0)
		e.at(t, failWait)
		return nil
	}
	switch t {
	case taskLoad:
		return e.load()
	case taskLocked:
		return e.moveLocked()
	case taskRelease:
		return e.release()
	case taskQuarantine:
		return e.openQuarantined()
	case taskPump:
		e.window.unscanned = true
		return e.pump()
	case taskTransmit:
		return e.pump()
	case taskReceipts:
		return e.queueReceipts()
	case taskAskAgain:
		return e.askAgain()
	case taskReseal:
		return e.resealAsked()
	case taskGaps:
		return e.tellGaps()
	case taskRelations:
		return e.pushRelations()
	case taskSubscribe:
		return e.subscribe()
	case taskClaims:
		return e.checkClaims()
	case taskUpkeep:
		return e.runUpkeep()
	case taskSweep:
		return e.sweep()
	case taskExpire:
		return e.expire()
	case taskFiles:
		return e.expireFiles()
	case taskAccept:
		return e.acceptRequested()
	}
	return nil
}
