package ledger

import (
	"slices"
	"sync"
)

// Recorder fills a Ledger from several goroutines.
type Recorder struct {
	mu sync.Mutex
	l  Ledger // guarded by mu
}

// NewRecorder returns a recorder with an empty ledger.
func NewRecorder(seed uint64, reordered bool) *Recorder {
	return &Recorder{l: Ledger{Seed: seed, Reordered: reordered}}
}

// Sent adds a message after its last attempt.
func (r *Recorder) Sent(s Send) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l.Sends = append(r.l.Sends, s)
}

// Shown adds a line of a consumer.
func (r *Recorder) Shown(s Show) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l.Shows = append(r.l.Shows, s)
}

// Acked adds a confirmed acknowledgement.
func (r *Recorder) Acked(a Ack) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l.Acks = append(r.l.Acks, a)
}

// Told adds a state.
func (r *Recorder) Told(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l.States = append(r.l.States, s)
}

// Ended adds lines of a history.
func (r *Recorder) Ended(f ...Final) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l.Finals = append(r.l.Finals, f...)
}

// Progress returns the number of taken messages and of shown lines.
func (r *Recorder) Progress() (taken, shown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.l.Sends {
		if s.Taken() {
			taken++
		}
	}
	return taken, len(r.l.Shows)
}

// Ledger returns a copy.
func (r *Recorder) Ledger() Ledger {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.l
	l.Sends, l.Shows, l.Acks = slices.Clone(l.Sends), slices.Clone(l.Shows), slices.Clone(l.Acks)
	l.States, l.Finals = slices.Clone(l.States), slices.Clone(l.Finals)
	return l
}
