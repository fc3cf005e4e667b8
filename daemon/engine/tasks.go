package engine

import (
	"time"
)

// task names a piece of work that the actor does at a time.
type task string

const (
	taskLoad       task = "load"       // read the pending envelopes from the store
	taskLocked     task = "locked"     // move the sends of a locked profile to the outbox
	taskRelease    task = "release"    // look at held messages again
	taskQuarantine task = "quarantine" // look at quarantined envelopes again
	taskPump       task = "pump"       // read the outbox, seal and send
	taskTransmit   task = "transmit"   // send sealed envelopes; read the outbox only if the last look left something there
	taskReceipts   task = "receipts"   // queue receipts that are due
	taskAskAgain   task = "ask again"  // ask again for messages that did not open
	taskReseal     task = "reseal"     // seal again for devices that asked
	taskGaps       task = "gaps"       // report missing counters
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

// order is the order of tasks that are due at the same time: tasks that read or
// release messages come before those that send them.
func order() []task {
	return []task{taskLoad, taskLocked, taskRelease, taskQuarantine, taskGaps, taskExpire, taskReceipts, taskAskAgain, taskReseal,
		taskPump, taskTransmit, taskRelations, taskSubscribe, taskUpkeep, taskClaims, taskSweep, taskFiles, taskAccept}
}

// runTask carries a task out. Before the engine has loaded its state, other tasks
// than that wait.
func (e *Engine) runTask(t task) error {
	if !e.loaded && t != taskLoad {
		e.schedule(taskLoad, 0)
		e.schedule(t, failWait)
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
