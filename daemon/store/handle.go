package store

import (
	"context"
	"database/sql"
	"errors"
)

// maxStatements bounds the prepared statements of a connection. The statements of this
// package are constants, fewer than this; any others are parsed at each call.
const maxStatements = 512

// handle is a connection with its prepared statements: parsing SQL costs more than running
// most of it. It belongs to one transaction at a time.
type handle struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func newHandle(conn *sql.Conn) *handle {
	return &handle{conn: conn, stmts: make(map[string]*sql.Stmt)}
}

// statement prepares a query once. It returns nil if the query should run unprepared.
func (h *handle) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := h.stmts[query]; s != nil {
		return s, nil
	}
	if len(h.stmts) >= maxStatements {
		return nil, nil
	}
	s, err := h.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	h.stmts[query] = s
	return s, nil
}

func (h *handle) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := h.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return h.conn.ExecContext(ctx, query, args...)
	}
	return s.ExecContext(ctx, args...)
}

func (h *handle) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := h.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return h.conn.QueryContext(ctx, query, args...)
	}
	return s.QueryContext(ctx, args...)
}

// row scans the single row of a query.
func (h *handle) row(ctx context.Context, query string, args []any, dest ...any) error {
	s, err := h.statement(ctx, query)
	if err != nil {
		return err
	}
	if s == nil {
		return h.conn.QueryRowContext(ctx, query, args...).Scan(dest...)
	}
	return s.QueryRowContext(ctx, args...).Scan(dest...)
}

func (h *handle) close() error {
	var errs []error
	for _, s := range h.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, h.conn.Close())...)
}
