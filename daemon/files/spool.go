package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"secmsg/config/durable"
	"secmsg/rpc/local/place"
)

// dirMode keeps a directory of the profile to its user.
const dirMode fs.FileMode = 0o700

// compareSize is how much of a part is compared at once, in bytes.
const compareSize = 256 << 10

// spool is the directory of the sealed parts that are not yet at the server, a
// file each: TRANSFER.PART. What is in there is ciphertext.
type spool struct{ dir string }

func (s spool) path(transfer int64, number int) string {
	return filepath.Join(s.dir, strconv.FormatInt(transfer, 10)+"."+strconv.Itoa(number))
}

// write stores a part; when it returns, the part is on the disk. A power cut
// may still lose its name: then the upload starts again under a new key.
//
// soon says that it will probably be read from there.
//
// What an earlier attempt has left of the part must be how b begins: the same
// place sealed under the same key from other plaintext would give both away to
// whoever has both. Else the error is errChanged, and nothing is written.
func (s spool) write(transfer int64, number int, b []byte, soon bool) (err error) {
	path := s.path(transfer, number)
	if err := begins(path, b); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, place.Mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := durable.MkdirAll(s.dir, dirMode); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, place.Mode)
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	to := direct{f: f, off: soon}
	_, err = to.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("spool: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// begins fails with errChanged unless the file, if there is one, is a beginning of b.
func begins(path string, b []byte) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	buf := make([]byte, min(len(b)+1, compareSize))
	for {
		n, err := f.Read(buf)
		if n > len(b) || !bytes.Equal(buf[:n], b[:n]) {
			return fmt.Errorf("part %s was sealed from something else: %w", filepath.Base(path), errChanged)
		}
		b = b[n:]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("spool: %w", err)
		}
	}
}

// open opens a part of a known size.
func (s spool) open(transfer int64, number int, size int64) (*os.File, error) {
	f, err := os.Open(s.path(transfer, number))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("part of %d bytes instead of %d: %w", info.Size(), size, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", errors.Join(err, f.Close()))
	}
	return f, nil
}

// remove removes one part.
func (s spool) remove(transfer int64, number int) error {
	err := os.Remove(s.path(transfer, number))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spooled is a part in the spool.
type spooled struct {
	transfer int64
	name     string
	size     int64
}

// list returns what is in the spool.
func (s spool) list() ([]spooled, error) {
	list, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var out []spooled
	for _, e := range list {
		text, _, _ := strings.Cut(e.Name(), ".")
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil { // else it is gone meanwhile
			out = append(out, spooled{id, e.Name(), info.Size()})
		}
	}
	return out, nil
}

// clear removes all parts of a transfer, those too that were never recorded.
func (s spool) clear(transfer int64) error {
	list, err := s.list()
	errs := []error{err}
	for _, p := range list {
		if p.transfer == transfer {
			errs = append(errs, s.drop(p))
		}
	}
	return errors.Join(errs...)
}

func (s spool) drop(p spooled) error {
	if err := os.Remove(filepath.Join(s.dir, p.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
