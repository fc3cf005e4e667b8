package localapi

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"secmsg/rpc/local"
)

// All callers waiting for a daemon that cannot start learn why, even if one of them sends
// nothing.
func TestRefuseTellsWhoWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	silent, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	const callers = 3
	dialed := make(chan error, callers)
	var asking sync.WaitGroup
	for range callers {
		asking.Go(func() {
			c, err := local.Dial(t.Context(), local.Target{Sockets: []string{path}})
			if err == nil {
				err = errors.Join(errors.New("it was served"), c.Close())
			}
			dialed <- err
		})
	}
	// Refuse answers the callers that connected before it was called, so call it until all
	// of them were answered.
	why := local.Errorf(local.CodeUsage, "directory /d is open to other users").WithHint("chmod 700 /d")
	for range callers {
		err := errors.New("")
		for got := false; !got; {
			select {
			case err = <-dialed:
				got = true
			default:
				Refuse(ln, why, slog.New(slog.DiscardHandler))
			}
		}
		e, ok := errors.AsType[*local.Error](err)
		if !ok || e.Code != local.CodeUsage || e.Message != why.Message || e.Hint != why.Hint {
			t.Errorf("told %#v, want %#v", err, why)
		}
	}
	asking.Wait()
}
