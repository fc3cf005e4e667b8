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
	"secmsg/crypto/identity"
	"secmsg/daemon/files"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// Run runs the daemon of a profile until ctx ends, a caller stops it, or
// something fails that it cannot go on without. Only one daemon runs on a
// profile: a second one fails with a usage error that names the first one's
// pid. Run returns nil after a clean stop.
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

// runProfile is one try of Run. given is the service manager's socket, or nil.
func runProfile(ctx context.Context, cfg config.Client, given *socket, logger *slog.Logger) (err error) {
	if err := harden(); err != nil {
		logger.Warn("hardening", "error", err)
	}
	for _, dir := range []string{cfg.Paths.Data, cfg.Paths.State} {
		if err := config.EnsurePrivateDir(dir); err != nil {
			return toLocal(err)
		}
	}
	lock, err := takeLock(ctx, cfg, logger)
	if err != nil {
		return toLocal(err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	d, err := open(ctx, cfg, lock, logger)
	if err != nil {
		return toLocal(err)
	}
	defer func() { err = errors.Join(err, toLocal(d.close())) }()
	return toLocal(d.run(ctx, given))
}

// Daemon is a running daemon. It implements localapi.Backend.
type Daemon struct {
	// constant
	cfg     config.Client
	lock    *local.Lock
	logger  *slog.Logger
	store   *store.Store
	keys    *keyring.Keyring
	trust   *trust.Trust
	journal *journal.Journal
	memory  *files.Memory   // of the transfers of all accounts
	work    context.Context // of accounts; ends before the store is closed
	stop    context.CancelCauseFunc
	changed changes         // of the state of accounts
	ending  <-chan struct{} // closed before callers and accounts are ended; nil before run

	activated bool // the service manager made the socket; constant after listen

	// life is held while accounts come and go: join, remove, lock, unlock.
	life sync.Mutex

	mu       sync.Mutex
	accounts []*account // guarded by mu; in the order of their ids
}

var _ localapi.Backend = (*Daemon)(nil)

// errStop is why a daemon ends that a caller stopped.
var errStop = localapi.ErrStop

// open opens what the daemon works on.
func open(ctx context.Context, cfg config.Client, lock *local.Lock, logger *slog.Logger) (*Daemon, error) {
	d := &Daemon{cfg: cfg, lock: lock, logger: logger, memory: files.NewMemory()}
	if err := checkFile(cfg.Paths.Database); err != nil {
		return nil, err
	}
	var err error
	if d.store, err = store.Open(ctx, cfg.Paths.Database, store.Options{Logger: logger}); err != nil {
		return nil, unusable(cfg.Paths.Database, damaged(cfg.Paths.Database, err))
	}
	d.keys, err = keyring.Open(d.store, cfg.Paths.Data, keyring.Options{Logger: logger, PrekeyRenew: cfg.Intervals.PrekeyRenew})
	if err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.journal = journal.New(d.store, journal.Options{
		Logger: logger, Retention: cfg.Limits.JournalAge, Events: cfg.Limits.JournalEvents, Attempts: cfg.Limits.Attempts, DeadAfter: cfg.Limits.DeadLetterAfter,
	})
	d.trust = trust.New(trust.Options{Logger: logger, Notify: d.identityEvent})
	d.work, d.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := d.unlockAtStart(); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	return d, nil
}

// privateFile is the mode of the profile's files; looser ones are refused.
const privateFile fs.FileMode = 0o600

// checkFile refuses a database that other users can read.
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

// damaged sets a damaged database aside, so that nothing writes to it and the
// next start begins with an empty one, and tells so.
func damaged(path string, err error) error {
	if !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	to, moveErr := store.SetAside(path, time.Now())
	if moveErr != nil {
		return errors.Join(err, moveErr)
	}
	return fmt.Errorf("%w (%w)", local.Errorf(local.CodeIO, "the profile's database is damaged; it was set aside as %s", to).
		WithHint("the next start begins with an empty profile"), err)
}

// unusable says why a database could not be opened, where the system's own words
// tell more than those of SQLite: a file or a directory that cannot be written.
func unusable(path string, err error) error {
	if !errors.Is(err, store.ErrDisk) {
		return err
	}
	f, osErr := os.OpenFile(path, os.O_RDWR, 0)
	if osErr == nil {
		_ = f.Close()
	}
	if osErr == nil || errors.Is(osErr, fs.ErrNotExist) {
		// The file is made, or its log beside it.
		if f, osErr = os.CreateTemp(filepath.Dir(path), "write-test-*"); osErr == nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			return err
		}
	}
	return fmt.Errorf("%w (%w)", local.IOError(osErr, "the profile's database cannot be used: %v", osErr), err)
}

// unlockAtStart unlocks a protected profile if configuration or systemd gives
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

// run starts the accounts, listens, and waits for the end.
func (d *Daemon) run(ctx context.Context, given *socket) error {
	ctx, cancel := context.WithCancelCause(ctx)
	stopWork := d.stop
	d.stop, d.ending = cancel, ctx.Done()
	defer stopWork(errStop)
	door, err := d.listen(given)
	if err != nil {
		return err
	}
	if err := d.startAccounts(ctx); err != nil {
		return errors.Join(err, door.Close())
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer d.stopAccounts()
	defer cancel(errStop)
	wg.Go(func() { watch(ctx, d.logger, d.alive) })
	wg.Go(func() { d.tellStatus(ctx) })
	wg.Go(func() { d.sweep(ctx) })
	wg.Go(func() { door.Watch(ctx) })
	wg.Go(func() { d.watchLock(ctx) })
	d.logger.Info("daemon runs", "pid", os.Getpid(), "version", config.Version(), "socket", door.Addr().String())
	d.tellClients(local.HolderRunning)
	tell(d.logger, sd.SdNotifyReady)
	err = localapi.Serve(ctx, door, d, d.logger)
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

// failure is something that the daemon cannot go on without.
type failure struct{ err error }

// Error returns the text of what failed.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns what failed.
func (f *failure) Unwrap() error { return f.err }

// fail ends the daemon.
func (d *Daemon) fail(err error) { d.stop(&failure{err}) }

// stopping reports whether the daemon is ending.
func (d *Daemon) stopping() bool {
	select {
	case <-d.ending:
		return true
	default:
		return false
	}
}

// alive asks store and engines whether they answer.
func (d *Daemon) alive(ctx context.Context) error {
	if err := d.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.AccountRefs()
		return err
	}); err != nil {
		return err
	}
	for _, a := range d.running() {
		e, _ := a.parts()
		if err := e.Ping(ctx); err != nil {
			return fmt.Errorf("account %d: %w", a.id, err)
		}
	}
	return nil
}

// identityEvent appends an identity event that trust found.
func (d *Daemon) identityEvent(tx *store.Tx, id store.AccountID, peer identity.Address, change local.Identity) error {
	row, err := tx.Account(id)
	if err != nil {
		return err
	}
	now := local.Time{Time: time.Now()}
	ev := local.Event{
		Type: local.TypeIdentity, Account: row.Address, Peer: peer.String(), Direction: local.DirectionIn,
		Time: now, Received: now, Identity: &change,
	}
	if p, err := tx.FindPeer(id, peer.String()); err == nil {
		if ev.Trust, err = d.trust.State(tx, id, p); err != nil {
			return err
		}
	}
	if change.Change == local.ChangeKey {
		tx.OnCommit(func() { d.callKeyChanged(id, peer) })
	}
	_, err = d.journal.Append(tx, id, ev)
	return err
}
