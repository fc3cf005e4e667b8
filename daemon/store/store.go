package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"secmsg/config/durable"
)

const (
	// readers bounds the concurrent read connections; a local daemon has few readers.
	readers = 4
	// defaultIdle is how long after the last write the WAL is truncated, so that deleted
	// values do not stay in it (crypto/SPEC.md, "At rest").
	defaultIdle = time.Minute
	// maxBusyTicks is the number of idle times after which the WAL is truncated even if
	// writes continue, as with a bot that never rests.
	maxBusyTicks = 10
	// busyTimeoutMS is how long a connection waits for a lock held by another process, in
	// milliseconds.
	busyTimeoutMS = 5000
	// filePerm allows access only for the profile's user.
	filePerm = 0o600
)

// Box seals and opens the values of sealed columns. The keyring implements it. Table,
// column and row are associated data, so a value cannot be moved to another place. If the
// profile is locked while a transaction is running, Seal and Open fail with ErrLocked, and
// Tag returns nil.
type Box interface {
	Seal(table, column, row string, plaintext []byte) ([]byte, error)
	Open(table, column, row string, sealed []byte) ([]byte, error)
	// Tag is a keyed hash with a separate key for each domain: the index of a sealed value.
	Tag(domain string, b []byte) []byte
}

// Options are the optional parameters of Open. The zero value is usable.
type Options struct {
	Logger *slog.Logger  // nil: discarded
	Idle   time.Duration // how long after the last write the WAL is truncated; 0: one minute
}

// Store is an open database.
type Store struct {
	// constant
	path   string
	logger *slog.Logger
	idle   time.Duration
	twice  bool // see groups
	stop   chan struct{}
	done   chan struct{}

	read *sql.DB
	// pool holds the read connections; nil stands for one that was not opened yet.
	pool chan *handle

	mu     sync.Mutex // one writer at a time; also orders the commit hooks
	write  *sql.DB
	conn   *handle // the only connection of write; guarded by mu
	closed bool    // guarded by mu

	box    atomic.Pointer[Box]
	known  known
	writes atomic.Uint64 // number of commits; the idle loop compares it
	clock  profileClock
}

// Open opens or creates the database at path, whose directory must exist, and updates its
// schema. It fails with ErrTooNew and leaves the file unchanged if a newer version wrote
// it, with ErrCorrupt if it is damaged (nothing is deleted; see SetAside), and with ErrDisk
// or ErrDiskFull.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	s := &Store{path: path, logger: o.Logger, idle: o.Idle, twice: groups == groupsTwice, stop: make(chan struct{}), done: make(chan struct{})}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.idle <= 0 {
		s.idle = defaultIdle
	}
	if err := create(path); err != nil {
		return nil, mapError("open database", err)
	}
	if err := checkVersion(ctx, path); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.closeDBs())
	}
	go s.truncateWhenIdle()
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	var err error
	if s.write, err = sql.Open("sqlite", dsn(s.path, "rw")); err != nil {
		return mapError("open database", err)
	}
	s.write.SetMaxOpenConns(1)
	if err := quickCheck(ctx, s.write); err != nil {
		return err
	}
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return mapError("open database", err)
	}
	s.conn = newHandle(conn)
	if s.read, err = sql.Open("sqlite", dsn(s.path, "rw", "query_only(ON)")); err != nil {
		return mapError("open database", err)
	}
	s.read.SetMaxOpenConns(readers)
	s.pool = make(chan *handle, readers)
	for range readers {
		s.pool <- nil
	}
	return s.loadClock(ctx)
}

// create creates the file with its permissions, which SQLite would derive from the umask.
// The WAL and its index inherit them.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), durable.SyncDir(filepath.Dir(path)))
}

// dsn returns the data source name with the settings of every connection. The path is
// escaped so that none of its characters is parsed as an option.
func dsn(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}}
	all := append([]string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeoutMS),
	}, pragmas...)
	if mode != "ro" {
		// Keep the savepoint journals of transaction parts in memory: they may exceed
		// SQLite's default buffer, and should not be written to a file elsewhere.
		all = append(all, "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)", "foreign_keys(ON)", "temp_store(MEMORY)")
	}
	q["_pragma"] = all
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	return u.String()
}

// SetBox sets the Box; nil locks the store. It takes effect for transactions that begin
// afterwards.
func (s *Store) SetBox(b Box) {
	if b == nil {
		s.box.Store(nil)
		s.known.clear()
		return
	}
	s.box.Store(&b)
}

// Update runs fn in a write transaction, one at a time, and commits it if fn returns nil.
// When it has returned, the changes survive a power failure. An error or panic of fn undoes
// everything. OnCommit hooks run before Update returns, in the order of commits. fn must
// not call Update.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return mapError("update", sql.ErrConnDone)
	}
	tx := s.newTx(ctx, s.conn, true)
	if err := tx.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	committed := false
	defer func() {
		if !committed {
			s.rollback(tx)
			tx.undone(0)
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.flush(); err != nil {
		return err
	}
	if now := s.clock.due(); !now.IsZero() {
		if err := s.saveClock(tx, now); err != nil {
			return err
		}
	}
	if err := tx.exec("COMMIT"); err != nil {
		return err
	}
	committed = true
	s.writes.Add(1)
	for _, hook := range tx.hooks {
		hook()
	}
	return nil
}

// Commits returns the number of commits since Open.
func (s *Store) Commits() uint64 { return s.writes.Load() }

// rollback undoes an open transaction. After a failed commit SQLite may already have ended
// it; then the statement fails harmlessly.
func (s *Store) rollback(tx *Tx) {
	if _, err := tx.q.exec(tx.ctx, "ROLLBACK"); err != nil {
		s.logger.Debug("rollback", "error", err)
	}
}

// View runs fn on a snapshot of the committed state. fn must not write.
func (s *Store) View(ctx context.Context, fn func(tx *Tx) error) error {
	h, err := s.reader(ctx)
	if err != nil {
		return mapError("view", err)
	}
	defer func() { s.pool <- h }()
	tx := s.newTx(ctx, h, false)
	if err := tx.exec("BEGIN"); err != nil {
		return err
	}
	defer s.rollback(tx)
	return fn(tx)
}

// reader takes a connection from the pool and opens it on its first use. The caller puts it
// back.
func (s *Store) reader(ctx context.Context) (*handle, error) {
	select {
	case h := <-s.pool:
		if h != nil {
			return h, nil
		}
		conn, err := s.read.Conn(ctx)
		if err != nil {
			s.pool <- nil
			return nil, err
		}
		return newHandle(conn), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// newTx returns a Tx. Its statements ignore the cancellation of ctx: a transaction is
// short, and undoing it half-way gains nothing.
func (s *Store) newTx(ctx context.Context, q *handle, writable bool) *Tx {
	tx := &Tx{ctx: context.WithoutCancel(ctx), now: s.ProfileTime, q: q, writable: writable, known: &s.known, epoch: s.known.now()}
	if b := s.box.Load(); b != nil {
		tx.box = *b
	}
	return tx
}

// Checkpoint moves the WAL into the database and truncates it. It fails if a read
// transaction lasts longer than busyTimeoutMS.
func (s *Store) Checkpoint(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return mapError("checkpoint", sql.ErrConnDone)
	}
	return s.checkpoint(ctx)
}

// errBusy says that a reader prevented the truncation of the WAL.
var errBusy = errors.New("a reader blocks the WAL")

// checkpoint truncates the WAL. SQLite reports a blocking reader as a value, not as an
// error.
func (s *Store) checkpoint(ctx context.Context) error {
	var busy, frames, moved int
	err := s.conn.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	if err == nil && busy != 0 {
		err = errBusy
	}
	return mapError("checkpoint", err)
}

// truncateWhenIdle truncates the WAL after each burst of writes, after Open (a crash may
// have left one), and periodically while writes continue: until then the WAL contains
// deleted values. A failure is retried.
func (s *Store) truncateWhenIdle() {
	defer close(s.done)
	t := time.NewTicker(s.idle)
	defer t.Stop()
	var seen uint64
	dirty, waited := true, 0
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		w := s.writes.Load()
		idle := w == seen
		dirty = dirty || !idle
		seen = w
		if waited++; !dirty || !idle && waited < maxBusyTicks {
			continue
		}
		waited = 0
		if err := s.Checkpoint(context.Background()); err != nil {
			s.logger.Warn("truncate WAL", "error", err)
			continue
		}
		dirty = s.writes.Load() != w
	}
}

// Close waits for the running transaction, truncates the WAL and closes the file. It may be
// called more than once.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	return errors.Join(s.checkpoint(context.Background()), s.closeDBs())
}

func (s *Store) closeDBs() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.close())
	}
	if s.read != nil {
		for range cap(s.pool) { // waits for running read transactions
			if h := <-s.pool; h != nil {
				errs = append(errs, h.close())
			}
		}
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return mapError("close database", errors.Join(errs...))
}

// SetAside renames a damaged database and its WAL, so that a new one can be created. It
// deletes nothing. It returns the new path of the database.
func SetAside(path string, now time.Time) (string, error) {
	to := path + ".corrupt-" + now.UTC().Format("20060102T150405")
	if _, err := os.Lstat(to); err == nil {
		return "", fmt.Errorf("set aside %s: %s exists", filepath.Base(path), filepath.Base(to))
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, to+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", mapError("set aside database", err)
		}
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return "", mapError("set aside database", err)
	}
	return to, nil
}
