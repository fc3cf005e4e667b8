package call

import (
	"context"
	"log/slog"
)

// queueSize bounds what waits to be written.
const queueSize = 256

// queue carries out what may block, in order, away from the loop.
type queue struct {
	logger *slog.Logger
	list   chan func(ctx context.Context)
}

func newQueue(l *slog.Logger) *queue {
	return &queue{logger: l, list: make(chan func(context.Context), queueSize)}
}

// put adds something. What finds no room is lost, like a signal on its way, and
// put says so; the loop never waits.
func (q *queue) put(fn func(ctx context.Context)) bool {
	select {
	case q.list <- fn:
		return true
	default:
		q.logger.Warn("a call signal or record is dropped: too many wait")
		return false
	}
}

// run carries out everything until end.
func (q *queue) run(ctx context.Context) {
	for fn := range q.list {
		fn(ctx)
	}
}

// end says that nothing is put any more.
func (q *queue) end() { close(q.list) }
