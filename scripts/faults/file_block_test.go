//go:build linux

package faults

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"secmsg/scripts/lab"
)

// Blocking a peer in the middle of a file that is fetched automatically ends the transfer: the received
// part is removed, and nothing more is fetched until the block ends.
func TestBlockStopsAnUnaskedFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "downloads")
	r := newRig(t, options{tcp: true, shallow: true, clientEnv: []string{"SECMSG_FILES_DIR=" + dir}})
	r.connected("alice", "bob")
	r.must("bob", "contact", "set", "alice", "auto-accept=1GiB")
	source := filepath.Join(t.TempDir(), "source")
	const parts = 12
	want := content(t, source, parts*filePart, 8)
	r.sendFile(source, "--wait", "queued")
	entries := func() []os.DirEntry {
		list, err := os.ReadDir(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			r.check(err)
		}
		return list
	}
	r.eventually("it is stored", func() bool {
		blobs, err := r.w.Blobs()
		r.check(err)
		if len(blobs) > 0 {
			r.tcp.Set(lab.TCPFaults{Rate: 2 << 20}) // from here on the transfer is slow
		}
		return len(blobs) > 0
	})
	r.eventually("it has begun to come", func() bool { return len(entries()) > 0 })
	r.must("bob", "block", "alice")
	r.eventually("what had come is gone", func() bool { return len(entries()) == 0 })
	r.tcp.Set(lab.TCPFaults{})
	_, before := r.tcp.Passed()
	r.must("bob", "status", "--check") // the line is fast again
	if _, now := r.tcp.Passed(); now > before+sealedPart {
		t.Errorf("%d bytes have come after the block", now-before)
	}
	if list := entries(); len(list) > 0 {
		t.Errorf("%v is back", list)
	}
	r.must("bob", "unblock", "alice")
	at := filepath.Join(dir, "source")
	r.eventually("it comes after all", func() bool { return len(entries()) == 1 && entries()[0].Name() == "source" })
	if digest(t, at) != want {
		t.Error("the received file differs from the sent one")
	}
	r.noPanic()
}
