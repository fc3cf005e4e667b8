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

// dirMode allows access to a directory of the profile only for its user.
const dirMode fs.FileMode = 0o700

// compareSize is the size of the reads that compare a part, in bytes.
const compareSize = 256 << 10

// spool is the directory of the sealed parts that the server does not have yet. Each is a
// file named TRANSFER.PART and contains ciphertext only.
type spool struct{ dir string }

func (s spool) path(transfer int64, number int) string {
	return filepath.Join(s.dir, strconv.FormatInt(transfer, 10)+"."+strconv.Itoa(number))
}

// write stores a part and syncs its content. A power failure may still lose the directory
// entry; then the upload restarts under a new key.
//
// soon says that the part will probably be read from the spool, and so should stay in the
// page cache.
//
// If an earlier attempt has left a file for the part, its content must be a prefix of b:
// sealing different plaintext at the same position under the same key would reveal both to
// somebody who has both. Otherwise write fails with errChanged and writes nothing.
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

// begins fails with errChanged if the file exists and is not a prefix of b.
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
			return fmt.Errorf("part %s was sealed from other content: %w", filepath.Base(path), errChanged)
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

// open opens a part and checks its size.
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

// remove removes one part, if it exists.
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

// list returns the parts in the spool.
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
		if info, err := e.Info(); err == nil { // otherwise it has been removed meanwhile
			out = append(out, spooled{id, e.Name(), info.Size()})
		}
	}
	return out, nil
}

// clear removes all parts of a transfer, including those without a row.
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
