package unixpeer

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// Both ends of a socket within this process belong to its user, and a closed socket to nobody.
func TestUID(t *testing.T) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*net.UnixConn{"client": client, "server": server} {
		if uid, err := UID(c); err != nil || uid != os.Geteuid() {
			t.Errorf("the other end of the %s: user %d, %v", name, uid, err)
		}
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := UID(server); err == nil && slices.Contains([]string{"linux", "darwin", "freebsd"}, runtime.GOOS) {
		t.Error("a closed socket has a user")
	}
}
