package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

const (
	// takeOverTimeout bounds the wait for a daemon that was asked to stop.
	takeOverTimeout = 30 * time.Second
	// takeOverPoll is how often the lock is tried meanwhile. A lock can be waited for
	// only by a thread that nothing interrupts.
	takeOverPoll = 20 * time.Millisecond
)

// takeLock takes the profile's lock. A service takes it over from a daemon that
// a command has started, where that disturbs nobody: a job of cron, which runs
// while nobody is logged in and no service manager is there, must not keep the
// service from starting at the next login.
func takeLock(ctx context.Context, cfg config.Client, logger *slog.Logger) (*local.Lock, error) {
	lock, err := local.TakeLock(ctx, cfg.Paths.Lock)
	if !isInUse(err) || !takesOver() {
		return lock, err
	}
	ctx, cancel := context.WithTimeout(ctx, takeOverTimeout)
	defer cancel()
	pid, stopErr := stopStray(ctx, cfg)
	if stopErr != nil {
		logger.Warn("cannot take over from the other daemon", "error", stopErr)
		return nil, err
	}
	for {
		lock, err = local.TakeLock(ctx, cfg.Paths.Lock)
		if err == nil {
			logger.Info("took over from the daemon that a command had started", "pid", pid)
		}
		if !isInUse(err) {
			return lock, err
		}
		select {
		case <-time.After(takeOverPoll):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func isInUse(err error) bool {
	e, ok := errors.AsType[*local.Error](err)
	return ok && e.Code == local.CodeInUse
}

// takesOver reports whether this process is a service that is to take over: not
// a transient one, which is itself a daemon that a command has started.
func takesOver() bool {
	name, _ := unit()
	return managed() && !strings.HasPrefix(name, local.TransientPrefix)
}

// stopStray stops the daemon that has the profile if it is no service and has
// nothing to do that a restart would disturb.
func stopStray(ctx context.Context, cfg config.Client) (pid int, err error) {
	c, err := local.Dial(ctx, local.Target{
		Sockets: cfg.Paths.Sockets(), Profile: cfg.Paths.Data, Lock: cfg.Paths.Lock,
		Caller: local.HelloParams{Version: config.Version()},
	})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	h := c.Hello()
	if h.PID == os.Getpid() || h.Unit != "" && !strings.HasPrefix(h.Unit, local.TransientPrefix) {
		return 0, local.Errorf(local.CodeInUse, "another service is running on this profile (pid %d)", h.PID)
	}
	return h.PID, c.StopIfIdle(ctx)
}
