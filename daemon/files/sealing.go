package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

const (
	// lendPatience is how long a part of a file waits to be sealed because those
	// before it have not left: 32 MiB a second are faster than that.
	lendPatience = 250 * time.Millisecond
	// streamPatience is the same for a stream, in front of the spool.
	streamPatience = time.Millisecond
	// streamBuffers is how many sealed parts of a stream are in memory: one leaves
	// while the next one goes to the spool.
	streamBuffers = 2
)

// plainPart is one part of a source.
type plainPart struct {
	data []byte
	last bool
	mark mark // Offset and Last
}

// sealAll seals from behind the parts that are durable to the end of the
// source, and leaves in last what was reached.
func (u *upload) sealAll(ctx context.Context, l *line, parts []store.TransferPart, last *mark) error {
	defer close(l.ready)
	for _, p := range parts {
		if p.State != store.PartSpooled {
			continue
		}
		if err := l.take(ctx); err != nil {
			return err
		}
		l.ready <- sealedPart{TransferPart: p} // has room for all of them
	}
	if last.Last {
		return nil
	}
	in, err := u.openInput(ctx, *last)
	if err != nil {
		return err
	}
	l.in = in // its buffers may still be on their way to the server when all is sealed
	l.memory = make(chan struct{}, in.sealedBuffers())
	if in.file == nil {
		// The caller of a stream that fails may say nothing for hours.
		defer context.AfterFunc(ctx, u.stream.interrupt)()
	}
	g, ctx := errgroup.WithContext(ctx)
	read, sealed := make(chan plainPart), make(chan struct{}, 1)
	g.Go(func() error {
		defer close(read)
		return in.readAll(ctx, *last, read, sealed)
	})
	g.Go(func() error { return u.sealRest(ctx, l, len(parts), read, sealed, last) })
	return g.Wait()
}

func (l *line) take(ctx context.Context) error { return take(ctx, l.slots) }

func take(ctx context.Context, of chan<- struct{}) error {
	select {
	case of <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lend takes the right to a sealed part in memory. If none comes back in time,
// that of the last part in the spool is taken back, unless it has begun to leave:
// what is sealed needs its source no more, and whoever writes a stream is not
// kept waiting.
func (l *line) lend(ctx context.Context) error {
	patience := lendPatience
	if l.in.file == nil {
		patience = streamPatience
	}
	select {
	case l.memory <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTicker(patience)
	defer late.Stop()
	for {
		select {
		case l.memory <- struct{}{}:
			return nil
		case <-late.C:
			l.kept.Load().takeBack()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sealedData is a sealed part that nothing but memory has.
type sealedData struct {
	number int
	data   []byte
	mark   mark
	loan   *loan
}

// sealRest seals parts as they are read, while the one before is kept. It tells
// sealed when the next may be read.
func (u *upload) sealRest(ctx context.Context, l *line, number int, read <-chan plainPart, sealed chan<- struct{}, last *mark) error {
	cipher, err := u.plan.cipher()
	if err != nil {
		return err
	}
	defer cipher.Wipe()
	g, ctx := errgroup.WithContext(ctx)
	keep := make(chan sealedData)
	g.Go(func() error { return u.keepAll(ctx, l, keep, last) })
	g.Go(func() error {
		defer close(keep)
		for p := range read {
			number++
			if err := l.take(ctx); err != nil {
				return err
			}
			if err := l.lend(ctx); err != nil {
				return err
			}
			data, err := cipher.SealPart(l.in.buffer(), p.data, number, p.last)
			l.in.put(p.data)
			if err != nil {
				return err
			}
			sealed <- struct{}{} // has room
			lent := &loan{data: data, free: func(b []byte) { l.in.put(b); <-l.memory }}
			select {
			case keep <- sealedData{number, data, p.mark, lent}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return g.Wait()
}

// keepAll keeps sealed parts, in order, and lets them go to the server.
func (u *upload) keepAll(ctx context.Context, l *line, sealed <-chan sealedData, last *mark) error {
	sum, err := loadHash(last.Sealed)
	if err != nil {
		return err
	}
	for p := range sealed {
		part, err := u.keep(ctx, p, sum)
		if err != nil {
			return err
		}
		if *last, err = decodeMark(part.Body); err != nil {
			return err
		}
		l.kept.Store(p.loan)
		select {
		case l.ready <- sealedPart{part, p.loan}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// keep makes a sealed part durable: the spool first, then its record. Without
// space it waits: the part is sealed, and is not sealed again.
func (u *upload) keep(ctx context.Context, p sealedData, sum hash.Hash) (store.TransferPart, error) {
	part := store.TransferPart{Transfer: u.id, Number: p.number, State: store.PartSpooled, Size: int64(len(p.data))}
	var g errgroup.Group
	g.Go(func() (err error) {
		sum.Write(p.data)
		p.mark.Sealed, err = saveHash(sum)
		return err
	})
	err := u.insist(ctx, func() error { return u.s.spool.write(u.id, p.number, p.data, u.plan.Stream) })
	if err := errors.Join(err, g.Wait()); err != nil {
		return part, err
	}
	if part.Body, err = json.Marshal(p.mark); err != nil {
		return part, fmt.Errorf("encode part: %w", err)
	}
	return part, u.insist(ctx, func() error {
		return u.s.o.Store.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.Transfer(u.id); err != nil {
				return err
			}
			return tx.PutPart(&part)
		})
	})
}

// insist tries something local until it succeeds, on a full disk for example.
func (u *upload) insist(ctx context.Context, do func() error) error {
	b := backoff{s: u.s}
	for {
		err := do()
		if err == nil {
			return nil
		}
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, errWithdrawn) {
			return errWithdrawn
		}
		if errors.Is(err, errChanged) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if barred(err) {
			return &failure{store.ReasonFileSpool, "the daemon may not write where it keeps what is to be sent: " + err.Error()}
		}
		u.waits(err)
		if err := b.wait(ctx, err); err != nil {
			return err
		}
	}
}

// input is a source that is being read.
type input struct {
	u    *upload
	file *os.File // nil: a stream
	src  source   // as it was when it was opened
	res  *reservation
}

// openInput opens the source where the last durable part ends.
func (u *upload) openInput(ctx context.Context, at mark) (*input, error) {
	if u.plan.Stream {
		if u.stream == nil || u.stream.taken || at.Offset > 0 {
			return nil, &failure{store.ReasonFileStream, "the stream broke off; nothing was sent"}
		}
		u.stream.taken = true
		return &input{u: u}, nil
	}
	f, now, err := u.openSource()
	if err != nil {
		return nil, sourceFailure(err)
	}
	in := &input{u: u, file: f, src: now}
	if !u.plan.Source.Unsized && (now.Unsized || now.Size < u.plan.Size) {
		in.close()
		return nil, errChanged // it has less than its message says
	}
	most := uploadBuffers
	if u.single() {
		most = leastBuffers
	}
	if in.res, err = u.s.o.Memory.reserve(ctx, u.s.ownUpload, most, bufferSize(u.plan.Size)); err == nil {
		err = in.verify(ctx, at)
	}
	if err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// verify reads the source up to where its durable parts end, and checks that it
// is what they were sealed from: sealed again, in memory and for nothing else,
// it gives the same digest. A digest of the plaintext would cost every upload
// what only one that goes on, or whose source was touched, needs.
func (in *input) verify(ctx context.Context, at mark) error {
	if at.Offset == 0 {
		return nil
	}
	want, err := loadHash(at.Sealed)
	if err != nil {
		return err
	}
	cipher, err := in.u.plan.cipher()
	if err != nil {
		return err
	}
	defer cipher.Wipe()
	got := sha256.New()
	for number, offset := 1, int64(0); offset < at.Offset; number++ {
		data, last, err := in.next(ctx, offset)
		if err != nil {
			return err
		}
		offset += int64(len(data))
		sealed, err := cipher.SealPart(in.buffer(), data, number, last)
		if err != nil {
			return errChanged // a part that ends too early
		}
		got.Write(sealed)
		in.put(data)
		in.put(sealed)
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return errChanged
	}
	return nil
}

// unchanged checks, when all of the source is sealed, that what was sealed is
// what stood in the file at one time. A file that was not touched since it was
// opened is; of one that was, a log that only grew for example, what was sealed
// is compared with what stands there now.
func (in *input) unchanged(ctx context.Context, all mark) error {
	if in.file == nil || in.src.Unsized {
		return nil
	}
	now, err := stat(in.src.Path, in.file)
	if err != nil {
		return sourceFailure(err)
	}
	if !in.src.touched(now) {
		return nil
	}
	if now.Unsized || now.Size < all.Offset {
		return errChanged
	}
	return in.verify(ctx, all)
}

func (in *input) close() {
	if in.file != nil {
		_ = in.u.closeSource(in.file) // it was only read
	}
	if in.res != nil {
		in.res.release()
	}
}

// buffer returns an empty buffer. A stream's grow with what came: its writer may
// be slow, and then it holds little.
func (in *input) buffer() []byte {
	if in.res != nil {
		return in.res.get()
	}
	return in.u.stream.buffer()
}

// sealedBuffers is how many sealed parts may be in memory: all buffers but the
// one that is read into.
func (in *input) sealedBuffers() int {
	if in.res != nil {
		return in.res.count - 1
	}
	return streamBuffers
}

func (in *input) put(b []byte) {
	if in.res != nil {
		in.res.put(b)
		return
	}
	in.u.stream.put(b)
}

// readAll reads part after part, each when the one before it is sealed.
func (in *input) readAll(ctx context.Context, at mark, out chan<- plainPart, sealed <-chan struct{}) error {
	for offset, last := at.Offset, false; !last; {
		data, end, err := in.next(ctx, offset)
		if err != nil {
			return err
		}
		last = end
		offset += int64(len(data))
		p := plainPart{data: data, last: last, mark: mark{Offset: offset, Last: last}}
		switch {
		case last && in.file == nil:
			in.u.stream.finished(offset, in.u.track)
		case last:
			in.u.track.setTotal(offset)
		}
		select {
		case out <- p:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-sealed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// next reads one part.
func (in *input) next(ctx context.Context, offset int64) (data []byte, last bool, err error) {
	if in.file == nil {
		return in.u.stream.next(ctx)
	}
	most := int64(seal.FilePartPlain)
	if in.u.plan.Size >= 0 {
		most = min(most, in.u.plan.Size-offset) // what stands behind that came later
	}
	data = in.res.get()[:most]
	// Where the descriptor stands is its caller's, too: it is not moved.
	n, err := io.ReadFull(readerCtx{ctx, io.NewSectionReader(in.file, offset, most)}, data)
	switch {
	case err == nil && in.u.plan.Size >= 0:
		return data, offset+most == in.u.plan.Size, nil
	case err == nil:
		var more [1]byte
		k, err := in.file.ReadAt(more[:], offset+most)
		if k == 0 && !errors.Is(err, io.EOF) {
			return nil, false, in.readError(err)
		}
		return data, k == 0, nil
	case in.u.plan.Size < 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return data[:n], true, nil
	}
	return nil, false, in.readError(err)
}

func (in *input) readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errChanged
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errWithdrawn) {
		return err
	}
	return &failure{store.ReasonFileSource, sourceError(in.u.plan.Source.Path, err).Message}
}
