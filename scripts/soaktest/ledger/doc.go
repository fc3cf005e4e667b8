// Package ledger holds what a fault test saw, and judges it against the promise
// of delivery: nothing that was taken is lost, nothing is shown twice, the order
// of a sender is kept, and states only go forward.
//
// [Check] is a pure function of a [Ledger], so that a run can be judged again
// from its file, and the judge itself can be tested. A [Recorder] may be used
// concurrently.
package ledger
