package media

import (
	"bytes"
	"errors"
	"sync"
)

// Limits of the frames buffered for a slow or stopped reader: several seconds of both kinds at
// our bit rates.
const (
	queueFrames = 512
	queueBytes  = 16 << 20
)

// Errors of [queue.Write] for a frame that was dropped.
var (
	errQueueFull = errors.New("the reader is too slow")
	errQueueKey  = errors.New("waiting for a key frame after dropped frames")
)

// queue buffers frames for a sink whose Write may block: a stream, a FIFO, or a player that
// may be paused. It writes from its own goroutine, so that the session and the other sinks
// are not delayed, and drops frames that do not fit. The goroutine ends with Close.
type queue struct {
	sink Sink          // constant
	wake chan struct{} // has one token when there is work
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	waiting []queuedFrame // guarded by mu
	bytes   int           // in waiting, and in the frame being written; guarded by mu
	broken  map[Kind]bool // frames of the kind were dropped; guarded by mu
	err     error         // last error of the sink; guarded by mu
	told    bool          // Write has returned err; guarded by mu
	ended   bool          // guarded by mu
}

type queuedFrame struct {
	codec Codec
	frame Frame
}

// newQueue wraps a sink whose Write may block, and returns any other sink unchanged.
func newQueue(s Sink) Sink {
	if _, ok := s.(interrupter); !ok || !s.Live() {
		return s
	}
	q := &queue{sink: s, wake: make(chan struct{}, 1), done: make(chan struct{}), broken: map[Kind]bool{}}
	go q.run() // Close waits for it
	return q
}

// Codecs implements [Sink].
func (q *queue) Codecs(k Kind) []Codec { return q.sink.Codecs(k) }

// Live implements [Sink].
func (q *queue) Live() bool { return q.sink.Live() }

func (q *queue) interrupt() {
	if i, ok := q.sink.(interrupter); ok {
		i.interrupt()
	}
}

// Write implements [Sink]. It never blocks. It fails with errQueueFull or errQueueKey if
// only this frame was dropped, and with the sink's error if the sink has failed.
func (q *queue) Write(c Codec, f Frame) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := c.Kind()
	switch {
	case q.err != nil:
		q.told = true
		return q.err
	case len(q.waiting) >= queueFrames || q.bytes+len(f.Data) > queueBytes:
		q.broken[k] = true
		return errQueueFull
	case q.broken[k] && !f.Key:
		return errQueueKey
	}
	delete(q.broken, k)
	f.Data = bytes.Clone(f.Data)
	q.waiting = append(q.waiting, queuedFrame{c, f})
	q.bytes += len(f.Data)
	q.wakeUp()
	return nil
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		if q.err != nil || q.ended && len(q.waiting) == 0 {
			q.waiting = nil
			q.mu.Unlock()
			return
		}
		if len(q.waiting) == 0 {
			q.mu.Unlock()
			<-q.wake
			continue
		}
		next := q.waiting[0]
		q.waiting[0] = queuedFrame{}
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		err := q.sink.Write(next.codec, next.frame)
		q.mu.Lock()
		q.bytes -= len(next.frame.Data)
		q.err = err
		q.mu.Unlock()
	}
}

// Close implements [Sink]. It first writes the buffered frames, as far as the sink accepts
// them.
func (q *queue) Close() error {
	q.mu.Lock()
	q.ended = true
	q.wakeUp()
	q.mu.Unlock()
	<-q.done
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	if !q.told {
		err, q.told = q.err, true
	}
	return errors.Join(err, q.sink.Close())
}
