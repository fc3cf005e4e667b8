package media

import (
	"bytes"
	"errors"
	"sync"
)

// Limits of what waits for a reader that is slow or was stopped: some seconds
// of both kinds at our rates.
const (
	queueFrames = 512
	queueBytes  = 16 << 20
)

// What a [queue] says of a frame that it did not take.
var (
	errQueueFull = errors.New("the reader is too slow")
	errQueueKey  = errors.New("waits for a key frame after others were left out")
)

// queue stands before a sink that waits for somebody else: a stream, a FIFO, a
// player that may be paused. It writes from a goroutine of its own, so that the
// session, and the sinks beside it, go on; frames for which there is no room
// are left out. Its goroutine ends with Close.
type queue struct {
	sink Sink          // constant
	wake chan struct{} // has one token when there is something to do
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	waiting []queuedFrame // guarded by mu
	bytes   int           // guarded by mu: of waiting, and of the frame that is being written
	broken  map[Kind]bool // guarded by mu: pictures were left out
	err     error         // guarded by mu: what the sink said last
	told    bool          // guarded by mu: err was returned by Write
	ended   bool          // guarded by mu
}

type queuedFrame struct {
	codec Codec
	frame Frame
}

// newQueue returns a sink as it is unless its Write may wait for somebody.
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

// Write implements [Sink]; it never waits. It fails with errQueueFull and
// errQueueKey when only this frame is lost, and with what the sink said when
// that takes nothing more.
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

// Close implements [Sink]: what waits is written before, as far as the sink
// takes it.
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
