package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// commandTimeout bounds a command that has no other bound.
	commandTimeout = 2 * time.Minute
	// stopTimeout bounds the clean end of a process.
	stopTimeout = 20 * time.Second
	// pollEvery is how often a process's state is checked.
	pollEvery   = 20 * time.Millisecond
	privateDir  = 0o700
	privateFile = 0o600
)

// Options describe a world. The zero value means a binary built from this tree, in a temporary
// directory.
type Options struct {
	// Dir contains everything; empty: a temporary directory that Close removes.
	Dir string
	// Binary is the program; empty: it is built into Dir.
	Binary string
	// Domain of the realm; empty: localhost.
	Domain string
	// Listen is the server's address; empty: a free one on loopback.
	Listen string
	// Entry is the address in invites, such as a proxy's; empty: Listen.
	Entry string
	// ServerEnv and ClientEnv are added to the environment of the server, and of commands and daemons:
	// configuration in the form of SECMSG_LIMITS_... and SECMSG_INTERVALS_...
	ServerEnv, ClientEnv []string
}

// World is a realm of real processes.
type World struct {
	// constant
	bin, dir, listen, entry, fingerprint string
	temporary                            bool
	serverEnv, clientEnv                 []string

	server *Process // used only by the caller that starts and ends the server

	mu    sync.Mutex
	procs map[*Process]bool // guarded by mu; processes started and not ended
	users map[string]bool   // guarded by mu
}

// New creates the realm and starts its server.
func New(ctx context.Context, o Options) (_ *World, err error) {
	w := &World{
		bin: o.Binary, dir: o.Dir, listen: o.Listen, entry: o.Entry, serverEnv: o.ServerEnv, clientEnv: o.ClientEnv,
		procs: map[*Process]bool{}, users: map[string]bool{},
	}
	if w.dir == "" {
		w.temporary = true
		if w.dir, err = os.MkdirTemp("", "secmsg-lab-"); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := os.MkdirAll(w.dir, privateDir); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if w.bin == "" {
		if w.bin, err = Build(ctx, "", w.dir); err != nil {
			return nil, err
		}
	}
	if w.listen == "" {
		if w.listen, err = FreeAddress(); err != nil {
			return nil, err
		}
	}
	if w.entry == "" {
		w.entry = w.listen
	}
	domain := o.Domain
	if domain == "" {
		domain = "localhost"
	}
	r, err := w.Exec(ctx, "", "serverd", "init", "--domain", domain, "--address", w.entry, "--data", w.ServerDir(), "-o", "json")
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("lab: serverd init: %w", r.Err())
	}
	var made struct{ Fingerprint string }
	if err := json.Unmarshal([]byte(r.Stdout), &made); err != nil {
		return nil, fmt.Errorf("lab: serverd init printed %q: %w", r.Stdout, err)
	}
	w.fingerprint = made.Fingerprint
	return w, w.StartServer(ctx)
}

// Dir is the world's directory.
func (w *World) Dir() string { return w.dir }

// Binary is the path of the program under test.
func (w *World) Binary() string { return w.bin }

// ServerDir is the server's directory.
func (w *World) ServerDir() string { return filepath.Join(w.dir, "server") }

// Listen is the address on which the server listens.
func (w *World) Listen() string { return w.listen }

// Entry is the address in invites.
func (w *World) Entry() string { return w.entry }

// Fingerprint is the realm's fingerprint, as printed by serverd init.
func (w *World) Fingerprint() string { return w.fingerprint }

// Home is the directory of a user's profile.
func (w *World) Home(user string) string { return filepath.Join(w.dir, "home-"+user) }

// Close ends consumers, daemons and server, and removes a temporary directory. Its error reports
// processes that did not end cleanly.
func (w *World) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var errs []error
	w.mu.Lock()
	procs, users := w.procs, w.users
	w.procs, w.users = map[*Process]bool{}, map[string]bool{}
	w.mu.Unlock()
	for p := range procs {
		if p != w.server {
			p.Kill()
		}
	}
	for user := range users {
		errs = append(errs, w.StopDaemon(ctx, user))
	}
	if w.server != nil {
		errs = append(errs, w.StopServer())
	}
	if w.temporary {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// FreeAddress returns a loopback address that nobody listens on.
func FreeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("free address: %w", err)
	}
	return ln.Addr().String(), ln.Close()
}

// Poll calls cond until it returns true, and fails when ctx ends first. There is no other way to wait
// for the state of a process.
func Poll(ctx context.Context, what string, cond func() bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
