package serverd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusEvery is how often the service manager's status line of the server is updated.
const statusEvery = 30 * time.Second

// notify tells the service manager, if there is one.
func (s *Server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.logger.Warn("could not notify the service manager", "error", err)
	}
}

// watch notifies the service manager's watchdog at half its interval, as long as the server's parts
// respond, and updates the line that `systemctl status` shows. It returns when ctx ends, or at once
// without a service manager.
func (s *Server) watch(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.logger.Warn("watchdog", "error", err)
	}
	every := statusEvery
	if watchdog > 0 {
		every = min(every, watchdog/2)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	last := ""
	for {
		if line := s.statusLine(); line != last {
			last = line
			s.notify("STATUS=" + line)
		}
		if watchdog > 0 {
			if err := s.answers(ctx, every); err == nil {
				s.notify(daemon.SdNotifyWatchdog)
			} else if ctx.Err() == nil {
				// Without a notification the service manager ends and restarts the server.
				s.logger.Error("the server does not respond to its own check", "error", err)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// answers calls the parts that every request needs, within the time bound. A part that is stuck holds
// its lock, so this call is stuck too. A store that returns an error is not stuck: a full disk is no
// reason for a restart.
func (s *Server) answers(ctx context.Context, bound time.Duration) error {
	s.stats.Snapshot() // takes the locks of gate, API, relay, blobs and media
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if err := s.store.Ping(ctx); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("store: no answer within %s", bound)
	}
	return nil
}

// statusLine summarizes the server's state in a few words.
func (s *Server) statusLine() string {
	parts := []string{"serves " + strings.Join(s.cfg.Roles, ", ")}
	if s.relay != nil {
		parts = append(parts, counted(s.relay.Stats().Replicas, "device")+" connected")
	}
	if n := len(s.stats.Problems()); n > 0 {
		parts = append(parts, counted(n, "warning")+" (secmsg admin stats)")
	}
	return strings.Join(parts, "; ")
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
