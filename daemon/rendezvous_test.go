package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secmsg/config"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// TestNoPlaceForALostProfile: a daemon whose profile was moved makes no socket, and
// no directory for one, under the old name.
func TestNoPlaceForALostProfile(t *testing.T) {
	paths, err := config.ResolvePaths(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lock, err := local.TakeLock(t.Context(), paths.Lock)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	d := &Daemon{cfg: config.Client{Paths: paths}, lock: lock}
	if len(d.places()) == 0 {
		t.Error("no place while the lock is held")
	}
	if err := os.Remove(paths.Lock); err != nil {
		t.Fatal(err)
	}
	if got := d.places(); len(got) > 0 {
		t.Errorf("places %v", got)
	}
}

// TestUnusableDatabase names what the system does not allow.
func TestUnusableDatabase(t *testing.T) {
	dir := t.TempDir()
	disk := fmt.Errorf("open: %w", store.ErrDisk)
	err := unusable(dir, disk) // a directory cannot be opened for writing, even by root
	if e, ok := errors.AsType[*local.Error](err); !ok || e.Code != local.CodeIO || !strings.Contains(e.Message, dir) {
		t.Errorf("%v", err)
	}
	if err := unusable(filepath.Join(dir, "secmsg.db"), disk); err != disk {
		t.Errorf("nothing is wrong with the directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUnitOf(t *testing.T) {
	for text, want := range map[string][2]string{
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/secmsg.service\n":                       {"secmsg.service", "user"},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/secmsg-daemon-0011223344556677.service": {"secmsg-daemon-0011223344556677.service", "user"},
		"0::/system.slice/system-secmsg\\x2ddaemon.slice/secmsg-daemon@carol.service\n":                     {"secmsg-daemon@carol.service", "system"},
		"12:pids:/x.service\n1:name=systemd:/system.slice/secmsg.service\n":                                 {"secmsg.service", "system"},
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                                  {},
		"0::/user.slice/user-1000.slice/user@1000.service\n":                                                {},
		"0::/\n": {}, "": {}, "nonsense": {},
	} {
		if name, manager := unitOf(text); name != want[0] || manager != want[1] {
			t.Errorf("unitOf(%q) = %s, %s", text, name, manager)
		}
	}
}
