// Package ledger records the observations of a fault test and judges them against the promises of
// delivery: no taken message is lost, nothing is shown twice, the order of a sender is kept, and states
// only advance.
//
// [Check] is a pure function of a [Ledger], so that a saved run can be judged again, and the judge
// itself can be tested. A [Recorder] is safe for concurrent use.
package ledger
