package call

import (
	"context"
	"log/slog"
)

// queueSize bounds the pending operations.
const queueSize = 256

// queue runs blocking operations in order, outside of the loop.
type queue struct {
	logger *slog.Logger
	list   chan func(ctx context.Context)
}

func newQueue(l *slog.Logger) *queue {
	return &queue{logger: l, list: make(chan func(context.Context), queueSize)}
}

// put queues an operation. If the queue is full, it drops the operation, as the network may
// drop a signal, and returns false. It never blocks.
func (q *queue) put(fn func(ctx context.Context)) bool {
	select {
	case q.list <- fn:
		return true
	default:
		q.logger.Warn("call signal or record dropped: the queue is full")
		return false
	}
}

// ran returns a channel that is closed once everything queued so far has run. It takes no
// place that an operation may need: if the queue is half full, the channel is closed at once.
func (q *queue) ran() <-chan struct{} {
	done := make(chan struct{})
	if len(q.list) >= cap(q.list)/2 || !q.put(func(context.Context) { close(done) }) {
		close(done)
	}
	return done
}

// run runs the queued operations until end.
func (q *queue) run(ctx context.Context) {
	for fn := range q.list {
		fn(ctx)
	}
}

// end closes the queue.
func (q *queue) end() { close(q.list) }
