package daemon

import (
	"context"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// tell sends a state to the service manager, if there is one.
func tell(logger *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		logger.Warn("cannot notify the service manager", "error", err)
	}
}

// watch notifies the watchdog at half its interval while alive returns nil. It
// returns when ctx ends, or at once without a watchdog.
func watch(ctx context.Context, logger *slog.Logger, alive func(context.Context) error) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("cannot read the watchdog settings", "error", err)
	}
	if interval <= 0 {
		return
	}
	t := time.NewTicker(interval / 2)
	defer t.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, interval/2)
		err := alive(ask)
		cancel()
		if err == nil {
			tell(logger, sd.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			// Without a notification the service manager restarts the daemon.
			logger.Error("health check failed", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
