package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"secmsg/config/durable"
)

// Options of the SQLite backend. The zero value means the defaults.
type Options struct {
	// Readers is the number of reading connections in addition to the writer. Default 4.
	Readers int
	// GroupSize bounds the writes in one transaction. Default 512.
	GroupSize int
}

const (
	defaultReaders   = 4
	defaultGroupSize = 512
	// busyTimeout covers a backup tool that locks the file for a moment.
	busyTimeout = 10 * time.Second
	// walPages is the size at which the log is checkpointed into the database: 16 MiB at 4 KiB a page,
	// so that thousands of envelopes share a checkpoint's fsyncs.
	walPages = 4096
	// walKeep bounds the log file after a checkpoint, in bytes.
	walKeep = 64 << 20
)

// SQLite is the embedded backend: one database file in WAL mode with
// synchronous=FULL, one writer goroutine that commits in groups, and a pool of
// readers.
type SQLite struct {
	// constant
	readers *sql.DB
	writers *sql.DB
	writer  *writer

	mu    sync.RWMutex // guards below
	stmts map[string]*sql.Stmt
}

var _ Store = (*SQLite)(nil)

// Open opens or creates the database at path and brings its schema up to date. If a newer version has
// written the database, Open returns ErrTooNew and leaves the file unchanged. Only one process may hold
// a database open; the caller ensures that.
func Open(ctx context.Context, path string, opts Options) (*SQLite, error) {
	if opts.Readers <= 0 {
		opts.Readers = defaultReaders
	}
	if opts.GroupSize <= 0 {
		opts.GroupSize = defaultGroupSize
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// SQLite gives its log files the mode of the database, so create it with a narrow mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w: %w", ErrDisk, err)
	}
	if err := errors.Join(f.Close(), durable.SyncDir(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("open store: %w: %w", ErrDisk, err)
	}
	if err := refuseNewer(ctx, path); err != nil {
		return nil, mapError("open store", err)
	}
	s := &SQLite{stmts: make(map[string]*sql.Stmt)}
	if s.writers, err = openDB(path, 1, false); err != nil {
		return nil, mapError("open store", err)
	}
	if err := migrate(ctx, s.writers); err != nil {
		return nil, errors.Join(mapError("open store", err), s.writers.Close())
	}
	if s.readers, err = openDB(path, opts.Readers, true); err != nil {
		return nil, errors.Join(mapError("open store", err), s.writers.Close())
	}
	conn, err := s.writers.Conn(ctx)
	if err != nil {
		return nil, errors.Join(mapError("open store", err), s.readers.Close(), s.writers.Close())
	}
	s.writer = startWriter(conn, opts.GroupSize)
	return s, nil
}

// dataSource returns the driver's data source name of the database.
func dataSource(path string, params url.Values) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	return u.String()
}

func openDB(path string, conns int, readOnly bool) (*sql.DB, error) {
	params := url.Values{}
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		fmt.Sprintf("wal_autocheckpoint(%d)", walPages),
		fmt.Sprintf("journal_size_limit(%d)", walKeep),
	}
	if readOnly {
		pragmas = append(pragmas, "query_only(1)")
	}
	for _, p := range pragmas {
		params.Add("_pragma", p)
	}
	db, err := sql.Open("sqlite", dataSource(path, params))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// Ping verifies that a write can be made durable.
func (s *SQLite) Ping(ctx context.Context) error {
	return s.write(ctx, "ping", func(t *tx) error {
		_, err := t.exec(`INSERT INTO pings (id, n) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = n + 1`)
		return err
	})
}

// Close commits the queued writes and closes the database.
func (s *SQLite) Close() error {
	err := s.writer.stop()
	s.mu.Lock()
	for _, st := range s.stmts {
		err = errors.Join(err, st.Close())
	}
	s.stmts = nil
	s.mu.Unlock()
	return mapError("close store", errors.Join(err, s.readers.Close(), s.writers.Close()))
}

// write runs fn in a transaction that other callers may share. It returns after the commit.
func (s *SQLite) write(ctx context.Context, op string, fn func(*tx) error) error {
	return mapError(op, s.writer.do(ctx, fn))
}

// prepared returns the readers' statement for a query. Queries are constants, so the cache is bounded.
func (s *SQLite) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.RLock()
	st := s.stmts[query]
	closed := s.stmts == nil
	s.mu.RUnlock()
	if st != nil {
		return st, nil
	}
	if closed {
		return nil, errClosed
	}
	fresh, err := s.readers.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stmts == nil {
		return nil, errors.Join(errClosed, fresh.Close())
	}
	if st := s.stmts[query]; st != nil {
		return st, fresh.Close()
	}
	s.stmts[query] = fresh
	return fresh, nil
}

// get reads one row.
func (s *SQLite) get(ctx context.Context, query string, args []any, dest ...any) error {
	st, err := s.prepared(ctx, query)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(dest...)
}

// scan is the part of sql.Row and sql.Rows that reads columns.
type scan func(dest ...any) error

// list reads all rows, giving each to row.
func (s *SQLite) list(ctx context.Context, query string, args []any, row func(scan) error) error {
	st, err := s.prepared(ctx, query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, row)
}

// eachRow gives each row to row and closes rows.
func eachRow(rows *sql.Rows, row func(scan) error) error {
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}
