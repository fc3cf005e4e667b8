package files

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// TestFetchWaitsForABusyServer checks that a fetch without wait, which gives up soon when
// the server is unreachable, keeps trying every few seconds when the server answers that it
// has no room for another part at the moment.
func TestFetchWaitsForABusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const busy = 5 * time.Minute
		blobs := newBlobs()
		blobs.blobs["b"] = &fakeBlob{complete: true, data: bytes.Repeat([]byte{7}, 100)}
		began, last, asked := time.Now(), time.Now(), 0
		blobs.get = func(context.Context, int64) error {
			if wait := time.Since(last); wait > 10*time.Second {
				t.Errorf("asked again after %s", wait)
			}
			last = time.Now()
			if asked++; time.Since(began) < busy {
				return &wire.Error{Code: wire.CodeRateLimited, Message: "busy", RetryAfter: 1}
			}
			return nil
		}
		s := New(Options{Blobs: blobs})
		f := &fetch{s: s, file: &store.File{}, patience: getPatience, total: 100, count: 1}
		p := &piece{number: 1, buf: make([]byte, 100)}
		at := &ticket{f: f, now: make(chan wire.BlobTicket, 1)}
		at.now <- wire.BlobTicket{URL: "b", Size: 100}
		if err := f.fetchPart(t.Context(), at, p); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < busy || asked < 20 {
			t.Errorf("took %s, asked %d times", took, asked)
		}
	})
}
