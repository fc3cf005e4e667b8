package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"secmsg/config"
	"secmsg/daemon/backend"
	"secmsg/daemon/codes"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Run runs the daemon of a profile until ctx ends, a client stops it, or an essential
// part fails. A second daemon on the same profile fails with an error that names the
// pid of the first. Run returns nil after a clean stop.
func Run(ctx context.Context, cfg config.Client, logger *slog.Logger) error {
	given, err := givenSocket()
	if err != nil {
		return err
	}
	if given != nil {
		return runActivated(ctx, cfg, given, logger)
	}
	return runProfile(ctx, cfg, nil, logger)
}

// runProfile is one attempt of Run. given is the service manager's socket, or nil.
func runProfile(ctx context.Context, cfg config.Client, given *socket, logger *slog.Logger) (err error) {
	if err := harden(); err != nil {
		logger.Warn("harden the process", "error", err)
	}
	for _, dir := range []string{cfg.Paths.Data, cfg.Paths.State} {
		if err := config.EnsurePrivateDir(dir); err != nil {
			return codes.Local(err)
		}
	}
	lock, err := takeLock(ctx, cfg, logger)
	if err != nil {
		return codes.Local(err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(errStop)
	d, err := open(ctx, stop, cfg, lock, logger)
	if err != nil {
		return codes.Local(err)
	}
	defer func() { err = errors.Join(err, codes.Local(d.close())) }()
	return codes.Local(d.run(ctx, given))
}

// errStop is the cause of a stop that a client requested.
var errStop = localapi.ErrStop

// Daemon is a running daemon.
type Daemon struct {
	// constant
	cfg     config.Client
	lock    *local.Lock
	logger  *slog.Logger
	store   *store.Store
	keys    *keyring.Keyring
	journal *journal.Journal
	backend *backend.Backend
	stop    context.CancelCauseFunc // ends the daemon
	endWork context.CancelFunc      // ends the accounts, before the store is closed

	activated bool // the service manager made the socket; constant after listen
}

// open opens the profile's store and keys and creates the backend. The daemon lives
// as long as ctx, which stop ends.
func open(ctx context.Context, stop context.CancelCauseFunc, cfg config.Client, lock *local.Lock, logger *slog.Logger) (*Daemon, error) {
	d := &Daemon{cfg: cfg, lock: lock, logger: logger, stop: stop}
	if err := checkFile(cfg.Paths.Database); err != nil {
		return nil, err
	}
	var err error
	if d.store, err = store.Open(ctx, cfg.Paths.Database, store.Options{Logger: logger}); err != nil {
		return nil, unusable(cfg.Paths.Database, setAside(cfg.Paths.Database, err))
	}
	d.keys, err = keyring.Open(d.store, cfg.Paths.Data, keyring.Options{Logger: logger, PrekeyRenew: cfg.Intervals.PrekeyRenew})
	if err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.journal = journal.New(d.store, journal.Options{
		Logger: logger, Retention: cfg.Limits.JournalAge, Events: cfg.Limits.JournalEvents, Attempts: cfg.Limits.Attempts, DeadAfter: cfg.Limits.DeadLetterAfter,
	})
	// Accounts outlive the clients' requests, so their context does not end with ctx.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	d.endWork = endWork
	d.backend = backend.New(backend.Options{
		Config: cfg, Store: d.store, Keyring: d.keys, Journal: d.journal, Logger: logger, Work: work,
		Stop: func() { stop(errStop) }, Fail: d.fail, Stopping: func() bool { return ctx.Err() != nil },
		Hello: d.hello, StaysUnlocked: d.staysUnlocked,
	})
	if err := d.unlockAtStart(); err != nil {
		endWork()
		return nil, errors.Join(err, d.store.Close())
	}
	return d, nil
}

// privateFile is the mode of the profile's files. A looser mode is an error.
const privateFile fs.FileMode = 0o600

// checkFile fails if other users can read the database.
func checkFile(path string) error {
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("check %s: %w", p, err)
		}
		if info.Mode().Perm()&^privateFile != 0 {
			return local.Errorf(local.CodeUsage, "file %s is open to other users (mode %04o)", p, info.Mode().Perm()).
				WithHint("chmod 600 %s", p)
		}
	}
	return nil
}

// setAside renames a damaged database, so that nothing writes to it and the next
// start creates an empty one. Other errors pass through.
func setAside(path string, err error) error {
	if !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	to, moveErr := store.SetAside(path, time.Now())
	if moveErr != nil {
		return errors.Join(err, moveErr)
	}
	return fmt.Errorf("%w (%w)", local.Errorf(local.CodeIO, "the profile's database is damaged; it was set aside as %s", to).
		WithHint("the next start creates an empty profile"), err)
}

// unusable explains why a database could not be opened. If the file or its directory
// is not writable, the system's error says more than SQLite's.
func unusable(path string, err error) error {
	if !errors.Is(err, store.ErrDisk) {
		return err
	}
	f, osErr := os.OpenFile(path, os.O_RDWR, 0)
	if osErr == nil {
		_ = f.Close()
	}
	if osErr == nil || errors.Is(osErr, fs.ErrNotExist) {
		// SQLite creates the file, or its log beside it.
		if f, osErr = os.CreateTemp(filepath.Dir(path), "write-test-*"); osErr == nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			return err
		}
	}
	return fmt.Errorf("%w (%w)", local.IOError(osErr, "the profile's database cannot be used: %v", osErr), err)
}

// unlockAtStart unlocks a protected profile if the configuration or systemd provides
// its passphrase.
func (d *Daemon) unlockAtStart() error {
	if !d.keys.Locked() {
		return nil
	}
	passphrase, err := startPassphrase(d.cfg.PassphraseFile)
	if err != nil {
		return local.Errorf(local.CodeUsage, "%v", err)
	}
	if passphrase == nil {
		return nil
	}
	defer clear(passphrase)
	return d.keys.Unlock(passphrase)
}

// run starts the accounts and serves the socket until the daemon stops.
func (d *Daemon) run(ctx context.Context, given *socket) error {
	defer d.endWork()
	door, err := d.listen(given)
	if err != nil {
		return err
	}
	if err := d.backend.Start(ctx); err != nil {
		return errors.Join(err, door.Close())
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer d.backend.StopAccounts()
	defer d.stop(errStop)
	wg.Go(func() { watch(ctx, d.logger, d.backend.Alive) })
	wg.Go(func() { d.tellStatus(ctx) })
	wg.Go(func() { door.Watch(ctx) })
	wg.Go(func() { d.watchLock(ctx) })
	d.logger.Info("daemon runs", "pid", os.Getpid(), "version", config.Version(), "socket", door.Addr().String())
	d.tellClients(local.HolderRunning)
	tell(d.logger, sd.SdNotifyReady)
	err = localapi.Serve(ctx, door, d.backend, d.logger)
	d.tellClients(local.HolderStopping)
	tell(d.logger, sd.SdNotifyStopping)
	d.logger.Info("daemon stops")
	if err == nil {
		if cause, ok := errors.AsType[*failure](context.Cause(ctx)); ok {
			err = cause
		}
	}
	return err
}

// close closes what open opened.
func (d *Daemon) close() error {
	d.journal.Close()
	return d.store.Close()
}

// failure is the error of an essential part.
type failure struct{ err error }

// Error returns the text of the error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the error.
func (f *failure) Unwrap() error { return f.err }

// fail ends the daemon after the failure of an essential part.
func (d *Daemon) fail(err error) { d.stop(&failure{err}) }
