//go:build linux

package faults

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to change the time stored by the server
)

// Row 17 at the server, as far as a test can drive it without its own wall clock: while the server is
// down, ten years pass by the clock, or the clock was ten years ahead when the server last ran. Nothing
// expires, the health check fails and gives the reason, messages flow, and an administrator's
// confirmation ends it. serverd/clock and daemon/store test how the clocks themselves continue (see
// TestEveryRowIsProven).
func TestFault17WallClockOfTheServer(t *testing.T) {
	t.Parallel()
	const years = 10 * 365 * 24 * time.Hour
	for name, ahead := range map[string]time.Duration{"ahead": years, "back": -years} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{serverEnv: []string{"SECMSG_LIMITS_SWEEP=100ms"}})
			r.connected("alice", "bob")
			r.stop("bob")
			r.send("alice", "bob", "before", "--wait", "server", "--timeout", patience)
			r.check(r.w.StopServer())
			db, err := sql.Open("sqlite", filepath.Join(r.w.ServerDir(), "server.db"))
			r.check(err)
			_, err = db.ExecContext(t.Context(), `UPDATE clock SET at = at - ?`, ahead.Milliseconds())
			r.check(err)
			r.check(db.Close())
			r.check(r.w.StartServer(t.Context()))
			if st := r.stats(); st.Healthy {
				t.Errorf("the server is healthy: %+v", st.Checks)
			}
			r.pause(time.Second) // enough time for many sweeps
			r.start("bob")
			r.connected("alice")
			r.until("bob", "alice", `"before"`)
			r.send("alice", "bob", "meanwhile", "--wait", "delivered", "--timeout", patience)
			res, err := r.w.Exec(t.Context(), "", "admin", "check", "--confirm-clock", "--data", r.w.ServerDir())
			r.check(err)
			r.check(res.Err())
			if st := r.stats(); !st.Healthy {
				t.Errorf("not healthy after the clock was confirmed: %+v", st.Checks)
			}
			r.send("bob", "alice", "after", "--wait", "delivered", "--timeout", patience)
			if got := r.history("alice", "bob"); strings.Contains(got, `"state":"expired"`) {
				t.Errorf("something expired:\n%s", got)
			}
			r.settle()
			r.noPanic()
		})
	}
}
