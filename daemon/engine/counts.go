package engine

import (
	"context"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
)

// Names of the counters of envelopes that are not shown; see Counts.
const (
	countUnknownKind = "unknown kind"
	countMalformed   = "malformed"
	countDuplicate   = "duplicate"
	countRefused     = "refused sender"
	countCrashed     = "crashed"
	countSpoofed     = "spoofed sync"
	countDropped     = "quarantine full"
	countProbe       = "stray probe"
	countCallRefused = "call of a stranger"
	countCallLimited = "call signals limited"
	countRetry       = "retry refused"
	countUnreadable  = "rows that cannot be read" // in this run
)

// Counts returns how many envelopes were counted and not shown, by reason.
func (e *Engine) Counts(ctx context.Context) (map[string]int64, error) {
	out := make(map[string]int64)
	err := e.store.View(ctx, func(tx *store.Tx) error {
		for _, what := range []string{countUnknownKind, countMalformed, countDuplicate, history.CountCollision, countRefused,
			countCrashed, countSpoofed, countDropped, countProbe, countCallRefused, countCallLimited, countRetry} {
			n, err := tx.Counted(e.account, what)
			if err != nil {
				return err
			}
			out[what] = n
		}
		return nil
	})
	out[countUnreadable] = e.history.Unreadable() + e.journal.Unreadable()
	return out, err
}
