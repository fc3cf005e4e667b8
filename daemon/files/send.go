package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

const (
	// maxSources bounds the files in one call.
	maxSources = 10_000
	waitQueued = "queued"
)

// Send queues files, uploads them and waits as p.Wait says. stream is the content of the
// streamed source, or nil. Failures of single messages are in their results; a returned
// error means that nothing was queued. If ctx ends because the caller left
// (local.ErrCallerLeft), messages that the server has not accepted yet are withdrawn. If
// the daemon stops, the next one continues the uploads.
func (s *Service) Send(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error) {
	sources, err := s.prepare(ctx, p)
	if err != nil {
		return local.SendResults{}, err
	}
	q, watch, err := s.queue(ctx, p, sources, stream)
	if err != nil {
		return local.SendResults{}, err
	}
	s.Kick()
	if live := watch.live(); live != nil {
		if err := s.drain(ctx, live, watch, progress); err != nil {
			s.withdraw(ctx, q.Messages)
			return local.SendResults{}, err
		}
	}
	if p.Wait == waitQueued {
		return s.o.Engine.AwaitFiles(ctx, q.Messages, p)
	}
	out, err := s.await(ctx, q, watch, p, progress)
	if err != nil || ctx.Err() != nil {
		s.withdraw(ctx, q.Messages)
	}
	return out, err
}

// prepared holds the checked sources of a call.
type prepared struct {
	details     []store.FileDetails
	plans       [][]byte
	held        []*os.File // one for each source; nil: open its path again
	fingerprint []byte
}

// close closes the files that no upload has taken over.
func (p *prepared) close() {
	for i, f := range p.held {
		if f != nil {
			_ = f.Close() // read only
			p.held[i] = nil
		}
	}
}

// prepare does all checks that are possible before anything is queued.
func (s *Service) prepare(ctx context.Context, p local.FileSendParams) (out prepared, err error) {
	if err := checkParams(p); err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			out.close()
		}
	}()
	print := sha256.New()
	life := int64(0)
	if p.Expires > 0 && p.Expires < float64(deleteKept/time.Second) {
		life = int64(p.Expires * 1000)
	}
	for _, src := range p.Sources {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		d, f, file, err := describe(src, s.thumbnail)
		if err != nil {
			return out, err
		}
		if f, err = s.hold(f, file, len(out.held)); err != nil {
			return out, err
		}
		out.held = append(out.held, f)
		if err := s.checkSize(d, file.Path); err != nil {
			return out, err
		}
		d.Once = p.Once
		plan := newPlan(file, d.Size, life)
		body, err := plan.encode()
		if err != nil {
			return out, err
		}
		_, _ = io.WriteString(print, file.fingerprint(d.Name)) // a hash's Write never fails
		out.details, out.plans = append(out.details, d), append(out.plans, body)
	}
	out.fingerprint = print.Sum(nil)
	return out, nil
}

// maxHeld bounds the open files of an account that wait to be sent. Beyond it only the path
// is kept, and must still lead to the same file when its turn comes.
const maxHeld = 256

// hold returns f if it may stay open until it is sent. Otherwise it closes f and returns
// nil, after a check that the daemon can open the same file by its path.
func (s *Service) hold(f *os.File, src source, more int) (*os.File, error) {
	if f == nil {
		return nil, nil // a stream
	}
	s.mu.Lock()
	room := len(s.held)+more < maxHeld
	s.mu.Unlock()
	if room {
		return f, nil
	}
	again, now, err := openSource(src.Path)
	if err == nil {
		err = again.Close()
	}
	if err != nil || !src.same(now) {
		err = local.Errorf(local.CodeUsage, "more than %d files are waiting that the daemon cannot open by path: send fewer at once", maxHeld)
	}
	return nil, errors.Join(err, f.Close())
}

// checkParams checks the parameters without looking at the sources.
func checkParams(p local.FileSendParams) error {
	streams := 0
	for _, src := range p.Sources {
		if src.Stream {
			streams++
		}
	}
	switch {
	case len(p.Sources) == 0:
		return local.Errorf(local.CodeUsage, "no file")
	case len(p.Sources) > maxSources:
		return local.Errorf(local.CodeUsage, "more than %d files in one call", maxSources)
	case p.Attach && len(p.Sources) > e2e.MaxFiles:
		return local.Errorf(local.CodeUsage, "a message takes at most %d files", e2e.MaxFiles).WithHint("secmsg file send PEER PATH...")
	case !p.Attach && (p.Text != "" || p.ReplyTo != ""):
		return local.Errorf(local.CodeUsage, "text and reply-to require attach")
	case streams > 1:
		return local.Errorf(local.CodeUsage, "only one file can be a stream")
	case streams > 0 && p.IdempotencyKey != "":
		return local.Errorf(local.CodeUsage, "a stream cannot have an idempotency key: its content is not known before its end")
	}
	return nil
}

// thumbnail makes one thumbnail at a time.
func (s *Service) thumbnail(r io.ReaderAt, size int64) ([]byte, int, int, bool) {
	s.pictures.Lock()
	defer s.pictures.Unlock()
	return Thumbnail(r, size)
}

// checkSize refuses a file that is larger than the server's limit, if that is known.
func (s *Service) checkSize(d store.FileDetails, path string) error {
	if d.Size < 0 {
		return nil
	}
	sealed, err := seal.SealedFileSize(d.Size)
	s.mu.Lock()
	limit := s.largest
	s.mu.Unlock()
	if err == nil && (limit == 0 || sealed <= limit) {
		return nil
	}
	return local.Errorf(local.CodeQuota, "%s has %d bytes; the server accepts files of up to %d bytes", path, d.Size, limit)
}

// learnLimit remembers the server's size limit.
func (s *Service) learnLimit(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.largest = max(n, 0)
}

// watch holds the uploads of one call.
type watch struct {
	ids   []string // id of the first message of each upload
	list  []*watched
	close func()
}

func (w *watch) live() *liveStream {
	for _, x := range w.list {
		if x.stream != nil {
			return x.stream
		}
	}
	return nil
}

// queue has the engine queue the messages, and registers the uploads before any of them can
// start. An upload that starts without its stream fails.
func (s *Service) queue(ctx context.Context, p local.FileSendParams, src prepared, stream io.Reader) (store.QueuedFiles, *watch, error) {
	defer src.close() // those not handed over to an upload
	var live *liveStream
	if stream != nil {
		live = newLiveStream(stream)
	}
	s.queueing.Lock()
	defer s.queueing.Unlock()
	s.mu.Lock()
	full := live != nil && s.streams >= maxStreams
	s.mu.Unlock()
	if full {
		return store.QueuedFiles{}, nil, local.Errorf(local.CodeRateLimited, "%d streams are being sent already", maxStreams)
	}
	q, err := s.o.Engine.QueueFiles(ctx, p, src.details, src.plans, src.fingerprint)
	if err != nil {
		return q, nil, err
	}
	w := new(watch)
	s.mu.Lock()
	defer s.mu.Unlock()
	perSource := 0
	if len(q.Transfers) > 0 && !p.Attach {
		perSource = len(q.Messages) / len(q.Transfers)
	}
	for i, id := range q.Transfers {
		x := &watched{track: newTracker(src.details[i].Name, local.PhaseWaiting, src.details[i].Size), ended: make(chan struct{})}
		if p.Sources[i].Stream {
			x.stream = live
			s.streams++
		}
		s.watched[id] = x
		if f := src.held[i]; f != nil {
			s.held[id], src.held[i] = f, nil
		}
		w.list = append(w.list, x)
		w.ids = append(w.ids, uuid.UUID(q.Messages[i*perSource]).String())
	}
	if live != nil {
		w.close = func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.streams--
		}
	}
	return q, w, nil
}

// drain waits until the stream has been read to its end, or its upload has ended.
func (s *Service) drain(ctx context.Context, live *liveStream, w *watch, progress func(local.FileProgress)) error {
	defer w.close()
	var ended chan struct{}
	for _, x := range w.list {
		if x.stream == live {
			ended = x.ended
		}
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-live.done:
			return nil
		case <-ended:
			return nil // the message's result says why
		case <-tick.C:
			w.report(progress)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.quit:
			return local.Errorf(local.CodeIO, "the daemon stopped while the stream was sent; nothing was sent")
		}
	}
}

// await waits for the messages and reports progress.
func (s *Service) await(ctx context.Context, q store.QueuedFiles, w *watch, p local.FileSendParams, progress func(local.FileProgress)) (local.SendResults, error) {
	type answer struct {
		out local.SendResults
		err error
	}
	done := make(chan answer, 1)
	go func() {
		out, err := s.o.Engine.AwaitFiles(ctx, q.Messages, p)
		done <- answer{out, err}
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case a := <-done:
			w.report(progress)
			return a.out, a.err
		case <-tick.C:
			w.report(progress)
		}
	}
}

// report reports every upload that has begun and has not been reported as ended.
func (w *watch) report(progress func(local.FileProgress)) {
	if progress == nil {
		return
	}
	now := time.Now()
	for i, x := range w.list {
		ended := false
		select {
		case <-x.ended:
			ended = true
		default:
		}
		if x.due(ended) {
			progress(x.track.report(w.ids[i], now))
		}
	}
}

// due reports whether there is progress to report: none before an upload begins, and its
// end once.
func (x *watched) due(ended bool) bool {
	if x.over {
		return false
	}
	x.over = ended
	return ended || x.track.begun()
}

// withdraw cancels messages that are not accepted yet, if the caller has left. If the
// daemon stops instead, the next one continues with them.
func (s *Service) withdraw(ctx context.Context, ids []store.MessageID) {
	if !errors.Is(context.Cause(ctx), local.ErrCallerLeft) {
		return
	}
	for _, id := range ids {
		_, err := s.o.Engine.CancelFile(context.WithoutCancel(ctx), uuid.UUID(id).String())
		if err != nil {
			s.o.Logger.Debug("cancel the file of a disconnected caller", "message", uuid.UUID(id), "error", err)
		}
	}
	s.Kick()
}
