package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"

	"secmsg/config"
	"secmsg/daemon/localapi"
	"secmsg/rpc/backoff"
	"secmsg/rpc/local"
)

const (
	// retryMin and retryMax bound the pause between two attempts to start while no
	// caller connects. The pause grows, because an attempt may derive a key.
	retryMin = 2 * time.Second
	retryMax = time.Minute
	// callerWait bounds one wait for a caller. The watchdog is notified after each.
	callerWait = time.Second
)

// socket is the listener that the service manager passed, if any.
type socket struct {
	ln   *net.UnixListener
	used bool // a Door owns and closes it
}

// givenSocket returns the socket of the service manager, nil without one. It may be
// called once.
func givenSocket() (*socket, error) {
	inherited, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	if len(inherited) > 1 {
		return nil, fmt.Errorf("socket activation: got %d sockets instead of one", len(inherited))
	}
	if len(inherited) == 0 {
		return nil, nil
	}
	ln, ok := inherited[0].(*net.UnixListener)
	if !ok {
		return nil, errors.New("socket activation: the socket is not a Unix socket")
	}
	return &socket{ln: ln}, nil
}

// runActivated runs the daemon on a socket of the service manager. If the daemon
// cannot start, waiting commands get the reason. A cause that the user must fix,
// such as a directory with loose permissions or a missing passphrase file, does not
// end the process: systemd would restart it for each waiting command until it hits a
// limit and closes the socket. runActivated retries until the cause is fixed.
func runActivated(ctx context.Context, cfg config.Client, given *socket, logger *slog.Logger) error {
	tries, told := 0, ""
	for {
		err := runProfile(ctx, cfg, given, logger)
		if err == nil || ctx.Err() != nil || given.used || isInUse(err) {
			return err // commands find the other daemon themselves
		}
		why, ok := errors.AsType[*local.Error](err)
		if !ok {
			why = local.Errorf(local.CodeNoDaemon, "the daemon does not start").WithHint("for the reason, see the daemon's log")
		}
		localapi.Refuse(given.ln, why, logger)
		if why.Code != local.CodeUsage || !managed() {
			return err
		}
		if why.Message != told {
			told, tries = why.Message, 0
			logger.Error("the daemon does not start; it retries until the cause is fixed", "error", why.Message, "hint", why.Hint)
			tell(logger, sd.SdNotifyReady)
			tell(logger, "STATUS=does not start: "+why.Message)
		}
		if err := waitForCaller(ctx, given.ln, backoff.New(retryMin, retryMax).After(tries, 0), logger); err != nil {
			return err
		}
		tries++
	}
}

// waitForCaller waits up to limit for a caller on ln. It returns nil also when the
// time is over or ctx ends.
func waitForCaller(ctx context.Context, ln *net.UnixListener, limit time.Duration, logger *slog.Logger) error {
	for end := time.Now().Add(limit); ctx.Err() == nil && time.Now().Before(end); {
		tell(logger, sd.SdNotifyWatchdog)
		if ready, err := readable(ln, callerWait); ready || err != nil {
			return err
		}
	}
	return nil
}
