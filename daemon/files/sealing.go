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
	// reclaimAfter is how long sealing a part of a file waits for memory before it reclaims
	// the memory copy of the part spooled last. At 32 MiB/s a part is sent within that
	// time.
	reclaimAfter = 250 * time.Millisecond
	// streamReclaimAfter is the same for a stream, whose writer should not wait.
	streamReclaimAfter = time.Millisecond
	// streamBuffers is the number of sealed parts of a stream in memory: one is sent while
	// the next one is spooled.
	streamBuffers = 2
)

// plainPart is one plaintext part of a source.
type plainPart struct {
	data []byte
	last bool
	mark mark // only Offset and Last are set
}

// sealAll passes on the parts that are already spooled, and then seals the source from the
// end of the last durable part. It updates last for each part it spools.
func (u *upload) sealAll(ctx context.Context, l *pipeline, parts []store.TransferPart, last *mark) error {
	defer close(l.ready)
	for _, p := range parts {
		if p.State != store.PartSpooled {
			continue
		}
		if err := l.takeSlot(ctx); err != nil {
			return err
		}
		l.ready <- sealedPart{TransferPart: p} // never blocks: ready has room for all of them
	}
	if last.Last {
		return nil
	}
	in, err := u.openInput(ctx, *last)
	if err != nil {
		return err
	}
	l.in = in // attempt closes it: its buffers may still be in use by sendAll
	l.memory = make(chan struct{}, in.sealedBuffers())
	if in.file == nil {
		// A read from a stream may block for hours. Interrupt it when the attempt fails.
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

func (l *pipeline) takeSlot(ctx context.Context) error { return take(ctx, l.slots) }

func take(ctx context.Context, of chan<- struct{}) error {
	select {
	case of <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeMemory takes the token for one sealed part in memory. When none is returned in time,
// it reclaims the memory copy of the part spooled last, unless that is being sent: the
// spool has the part, and the source can be read on.
func (l *pipeline) takeMemory(ctx context.Context) error {
	patience := reclaimAfter
	if l.in.file == nil {
		patience = streamReclaimAfter
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
			l.newest.Load().reclaim()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sealedData is a sealed part that is not in the spool yet.
type sealedData struct {
	number int
	data   []byte
	mark   mark
	mem    *memCopy
}

// sealRest seals parts as they are read, while spoolAll spools the previous one. It sends a
// token on sealed when the next part may be read.
func (u *upload) sealRest(ctx context.Context, l *pipeline, number int, read <-chan plainPart, sealed chan<- struct{}, last *mark) error {
	cipher, err := u.plan.cipher()
	if err != nil {
		return err
	}
	defer cipher.Wipe()
	g, ctx := errgroup.WithContext(ctx)
	toSpool := make(chan sealedData)
	g.Go(func() error { return u.spoolAll(ctx, l, toSpool, last) })
	g.Go(func() error {
		defer close(toSpool)
		for p := range read {
			number++
			if err := l.takeSlot(ctx); err != nil {
				return err
			}
			if err := l.takeMemory(ctx); err != nil {
				return err
			}
			data, err := cipher.SealPart(l.in.buffer(), p.data, number, p.last)
			l.in.put(p.data)
			if err != nil {
				return err
			}
			sealed <- struct{}{} // never blocks
			mem := &memCopy{data: data, free: func(b []byte) { l.in.put(b); <-l.memory }}
			select {
			case toSpool <- sealedData{number, data, p.mark, mem}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return g.Wait()
}

// spoolAll spools sealed parts in order and passes them to sendAll.
func (u *upload) spoolAll(ctx context.Context, l *pipeline, sealed <-chan sealedData, last *mark) error {
	sum, err := loadHash(last.Sealed)
	if err != nil {
		return err
	}
	for p := range sealed {
		part, err := u.spoolPart(ctx, p, sum)
		if err != nil {
			return err
		}
		if *last, err = decodeMark(part.Body); err != nil {
			return err
		}
		l.newest.Store(p.mem)
		select {
		case l.ready <- sealedPart{part, p.mem}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// spoolPart makes a sealed part durable: first its spool file, then its row. If the disk is
// full it waits, so that the part need not be sealed again.
func (u *upload) spoolPart(ctx context.Context, p sealedData, sum hash.Hash) (store.TransferPart, error) {
	part := store.TransferPart{Transfer: u.id, Number: p.number, State: store.PartSpooled, Size: int64(len(p.data))}
	var g errgroup.Group
	g.Go(func() (err error) {
		sum.Write(p.data)
		p.mark.Sealed, err = saveHash(sum)
		return err
	})
	err := u.retryLocal(ctx, func() error { return u.s.spool.write(u.id, p.number, p.data, u.plan.Stream) })
	if err := errors.Join(err, g.Wait()); err != nil {
		return part, err
	}
	if part.Body, err = json.Marshal(p.mark); err != nil {
		return part, fmt.Errorf("encode part: %w", err)
	}
	return part, u.retryLocal(ctx, func() error {
		return u.s.o.Store.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.Transfer(u.id); err != nil {
				return err
			}
			return tx.PutPart(&part)
		})
	})
}

// retryLocal repeats a local operation until it succeeds: the disk may be full for a while.
// It gives up when the directory is not writable, and returns errWithdrawn if the upload is
// gone.
func (u *upload) retryLocal(ctx context.Context, do func() error) error {
	b := retries{s: u.s}
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
		if unwritable(err) {
			return &failure{store.ReasonFileSpool, "the daemon cannot write to its directory for outgoing files: " + err.Error()}
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
	src  source   // state of the file when it was opened
	res  *reservation
}

// openInput opens the source at the end of the last durable part.
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
		return nil, errChanged // shorter than the size in its message
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

// verify checks that the source up to the last durable part is still what those parts were
// sealed from: it seals the source again, in memory, and compares the digest of the
// ciphertext. A digest of the plaintext would be simpler, but every upload would have to
// compute it, and only a resumed one, or one whose source was touched, needs it.
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
			return errChanged // the part ends too early
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

// unchanged checks, after the last part, that the file has not changed while it was sealed.
// If its size and modification time are unchanged, it has not. Otherwise, for example when
// a log file has only grown, the sealed content is compared with the present content.
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
		_ = in.u.closeSource(in.file) // read only
	}
	if in.res != nil {
		in.res.release()
	}
}

// buffer returns an empty buffer. A stream's buffer grows with its content, so that a slow
// writer ties up little memory.
func (in *input) buffer() []byte {
	if in.res != nil {
		return in.res.get()
	}
	return in.u.stream.buffer()
}

// sealedBuffers is the number of sealed parts that may be in memory: all buffers but the
// one that the source is read into.
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

// readAll reads the source part by part, each after the previous one has been sealed.
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
		most = min(most, in.u.plan.Size-offset) // ignore what was appended later
	}
	data = in.res.get()[:most]
	// The caller shares the descriptor's position: do not move it.
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
