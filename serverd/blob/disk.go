package blob

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"secmsg/config/durable"
	"secmsg/rpc/wire"
)

// Names in the directory: tmp holds incoming parts. A blob is a directory two levels down, with a file
// for each part and, once it is complete, its index: a header, then the size of each part in four
// bytes.
const (
	tmpDir    = "tmp"
	indexFile = "index"
	indexHead = "secmsg blob 1\n"
)

const (
	privateDir  = 0o700
	privateFile = 0o600
	// lockCount is the number of locks that blobs share.
	lockCount = 64
)

// DiskOptions configure a Disk. Dir and Key are required.
type DiskOptions struct {
	Dir string
	// Key signs URLs. It is a secret of KeySize bytes that is used for nothing else.
	Key []byte
	// Stall is the longest time that stepSize bytes may take. 0 means 20 s.
	Stall time.Duration
	// Parallel bounds the simultaneous transfers of one account. 0 means 32.
	Parallel int
	// Bandwidth bounds the transfers of all accounts together, in bytes per second, both directions
	// together. 0 means no limit.
	Bandwidth int64
	// Authenticated is called for a request with a valid signature; may be nil.
	Authenticated func(ctx context.Context)
	// Allowed returns nil if an account may still transfer, else a *wire.Error with the reason; may be
	// nil.
	Allowed func(ctx context.Context, account string) error
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil for no log
}

const (
	defaultStall    = 20 * time.Second
	defaultParallel = 32
)

// Disk is the embedded backend: files in a directory that it has to itself. It serves its own URLs
// (ServeHTTP).
type Disk struct {
	// constant
	opt  DiskOptions
	root *os.Root

	buffers buffers
	shape   *shaper               // nil for no limit
	locks   [lockCount]sync.Mutex // of blobs; held while parts are renamed, indexed or deleted

	mu      sync.Mutex
	puts    map[putKey]*put // guarded by mu
	running map[string]int  // transfers by account; guarded by mu

	putCount, putBytes, getCount, getBytes, refused, full atomic.Int64
}

// OpenDisk opens or creates the directory, and removes incomplete parts that a crash has left.
func OpenDisk(opt DiskOptions) (*Disk, error) {
	if len(opt.Key) != KeySize {
		return nil, errors.New("blobs: the key has the wrong length")
	}
	opt.Stall = cmp.Or(opt.Stall, defaultStall)
	opt.Parallel = cmp.Or(opt.Parallel, defaultParallel)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if err := durable.MkdirAll(opt.Dir, privateDir); err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	root, err := os.OpenRoot(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	d := &Disk{opt: opt, root: root, shape: newShaper(opt.Bandwidth), puts: map[putKey]*put{}, running: map[string]int{}}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("blobs: %w", err), root.Close())
	}
	return d, nil
}

// prepare creates an empty directory for incoming parts.
func (d *Disk) prepare() error {
	if err := d.root.RemoveAll(tmpDir); err != nil {
		return err
	}
	if err := d.root.Mkdir(tmpDir, privateDir); err != nil {
		return err
	}
	return d.syncDir(".")
}

// blobDir returns a blob's directory.
func blobDir(id [16]byte) string {
	text := FormatID(id)
	return path.Join(text[:2], text)
}

func partFile(number int) string { return fmt.Sprintf("%05d", number) }

func (d *Disk) lock(id [16]byte) *sync.Mutex { return &d.locks[id[0]%lockCount] }

// Create creates the blob's directory, and the shard directory above it if necessary.
func (d *Disk) Create(_ context.Context, id [16]byte) (string, error) {
	// Nobody may use the shard directory before it is durable, so all blobs of a shard share a lock.
	l := d.lock(id)
	l.Lock()
	defer l.Unlock()
	dir := blobDir(id)
	err := d.root.Mkdir(dir, privateDir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.root.Mkdir(path.Dir(dir), privateDir); err == nil {
			if err = d.syncDir("."); err == nil {
				err = d.root.Mkdir(dir, privateDir)
			} else {
				_ = d.root.Remove(path.Dir(dir)) // the next call tries again
			}
		}
	}
	if err == nil {
		err = d.syncDir(path.Dir(dir))
	}
	if err != nil {
		return "", d.failed("create", err)
	}
	return "", nil
}

// Parts lists the part files.
func (d *Disk) Parts(_ context.Context, id [16]byte, _ string) ([]Part, error) {
	if _, err := d.root.Stat(path.Join(blobDir(id), indexFile)); err == nil {
		return nil, ErrNotFound
	}
	return d.parts(id)
}

func (d *Disk) parts(id [16]byte) ([]Part, error) {
	dir, err := d.root.Open(blobDir(id))
	if err != nil {
		return nil, d.failed("list parts", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1) // bounded by the number of parts that may be reserved
	if err != nil {
		return nil, d.failed("list parts", err)
	}
	var out []Part
	for _, name := range names {
		n, err := strconv.Atoi(name)
		if err != nil || partFile(n) != name {
			continue
		}
		info, err := d.root.Lstat(path.Join(blobDir(id), name))
		if err != nil {
			return nil, d.failed("list parts", err)
		}
		out = append(out, Part{Number: n, Size: info.Size(), ETag: etag(info)})
	}
	slices.SortFunc(out, func(a, b Part) int { return cmp.Compare(a.Number, b.Number) })
	return out, nil
}

// etag identifies the content of a part file: each upload creates a new file.
func etag(info fs.FileInfo) string {
	return strconv.FormatInt(info.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(info.Size(), 36)
}

// Complete writes the index. Nothing is copied: the parts keep their files.
func (d *Disk) Complete(_ context.Context, id [16]byte, _ string, parts []Part) error {
	l := d.lock(id)
	l.Lock()
	defer l.Unlock()
	sizes, err := d.index(id)
	if err == nil {
		if !slices.EqualFunc(sizes, parts, func(size int64, p Part) bool { return size == p.Size }) {
			return ErrConflict
		}
		// An earlier call may have failed exactly here.
		if err := d.syncDir(blobDir(id)); err != nil {
			return d.failed("complete", err)
		}
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	stored, err := d.parts(id)
	if err != nil {
		return err
	}
	if len(parts) == 0 || len(stored) < len(parts) || !slices.Equal(stored[:len(parts)], parts) {
		return ErrConflict
	}
	head := []byte(indexHead)
	for i, p := range parts {
		if p.Number != i+1 {
			return ErrConflict
		}
		head = binary.BigEndian.AppendUint32(head, uint32(p.Size))
	}
	for _, p := range stored[len(parts):] {
		if err := d.root.Remove(path.Join(blobDir(id), partFile(p.Number))); err != nil {
			return d.failed("complete", err)
		}
	}
	if err := d.writeIndex(id, head); err != nil {
		return d.failed("complete", err)
	}
	return nil
}

func (d *Disk) writeIndex(id [16]byte, data []byte) (err error) {
	name := path.Join(tmpDir, FormatID(id)+"."+indexFile)
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, privateFile)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.root.Remove(name) // report the first error
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.root.Rename(name, path.Join(blobDir(id), indexFile)); err != nil {
		return err
	}
	return d.syncDir(blobDir(id))
}

// index returns the sizes of a complete blob's parts, or ErrNotFound.
func (d *Disk) index(id [16]byte) ([]int64, error) {
	f, err := d.root.Open(path.Join(blobDir(id), indexFile))
	if err != nil {
		return nil, d.failed("read index", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(len(indexHead)+4*wire.MaxBlobParts+1)))
	if err != nil {
		return nil, d.failed("read index", err)
	}
	if len(data) <= len(indexHead) || string(data[:len(indexHead)]) != indexHead || len(data[len(indexHead):])%4 != 0 {
		return nil, fmt.Errorf("blob %s: its index is damaged", FormatID(id))
	}
	data = data[len(indexHead):]
	sizes := make([]int64, 0, len(data)/4)
	for ; len(data) > 0; data = data[4:] {
		sizes = append(sizes, int64(binary.BigEndian.Uint32(data)))
	}
	return sizes, nil
}

// Delete removes the blob's directory. It removes the index first, so that a crash leaves no complete
// blob behind.
func (d *Disk) Delete(_ context.Context, id [16]byte) error {
	l := d.lock(id)
	l.Lock()
	defer l.Unlock()
	if err := d.root.Remove(path.Join(blobDir(id), indexFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.failed("delete", err)
	}
	if err := d.root.RemoveAll(blobDir(id)); err != nil {
		return d.failed("delete", err)
	}
	return nil
}

// List reads the directories in order.
func (d *Disk) List(_ context.Context, after [16]byte, limit int) ([][16]byte, error) {
	var out [][16]byte
	for shard := int(after[0]); shard < 1<<8 && len(out) == 0; shard++ {
		dir, err := d.root.Open(fmt.Sprintf("%02x", shard))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, d.failed("list", err)
		}
		names, err := dir.Readdirnames(-1)
		if err := errors.Join(err, dir.Close()); err != nil {
			return nil, d.failed("list", err)
		}
		slices.Sort(names)
		for _, name := range names {
			id, ok := ParseID(name)
			if ok && slices.Compare(id[:], after[:]) > 0 && len(out) < limit {
				out = append(out, id)
			}
		}
	}
	return out, nil
}

// Ping checks that a file can be written.
func (d *Disk) Ping(context.Context) error {
	name := path.Join(tmpDir, "ping")
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, privateFile)
	if err != nil {
		return d.failed("ping", err)
	}
	_, err = f.Write(make([]byte, 4<<10))
	if err := errors.Join(err, f.Close(), d.root.Remove(name)); err != nil {
		return d.failed("ping", err)
	}
	return nil
}

// Counters count transfers since the start.
func (d *Disk) Counters() map[string]int64 {
	return map[string]int64{
		"puts": d.putCount.Load(), "put_bytes": d.putBytes.Load(), "gets": d.getCount.Load(), "get_bytes": d.getBytes.Load(),
		"refused": d.refused.Load(), "full": d.full.Load(),
	}
}

// Close leaves the directory. Requests must have ended.
func (d *Disk) Close() error { return d.root.Close() }

// failed adds the operation, and the sentinel that callers branch on.
func (d *Disk) failed(op string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("blobs: %s: %w", op, ErrNotFound)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		d.full.Add(1)
		return fmt.Errorf("blobs: %s: %w: %w", op, ErrFull, err)
	}
	return fmt.Errorf("blobs: %s: %w", op, err)
}

// syncDir makes the names in a directory durable. Windows has no such call; its file systems log
// changes of names themselves.
func (d *Disk) syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
