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
	// takeOverTimeout bounds the wait for the other daemon to stop.
	takeOverTimeout = 30 * time.Second
	// takeOverPoll is the interval at which the lock is tried meanwhile. It polls,
	// because a blocking lock call cannot be cancelled.
	takeOverPoll = 20 * time.Millisecond
)

// takeLock takes the profile's lock. A service takes it over from an idle daemon that
// a command has started. Otherwise a cron job that ran before the user logged in, when
// there was no service manager, would keep the service from starting.
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

// takesOver reports whether this process is a permanent service. A transient service is
// a daemon that a command has started.
func takesOver() bool {
	name, _ := unit()
	return managed() && !strings.HasPrefix(name, local.TransientPrefix)
}

// stopStray stops the daemon that holds the profile if it is no service and is idle.
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
