package api_test

import (
	"bytes"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/api"
	"secmsg/serverd/blob"
	"secmsg/serverd/store"
)

// newS3Realm is newBlobRealm with a real S3 server started by the test.
func newS3Realm(t *testing.T, limits store.BlobLimits) *realm {
	t.Helper()
	program := os.Getenv("SECMSG_S3_GATEWAY")
	if program == "" {
		t.Skip("SECMSG_S3_GATEWAY does not name an S3 server; scripts/s3-gateway builds one")
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	address := l.Addr().String()
	check(l.Close())
	dir := t.TempDir()
	check(os.Mkdir(filepath.Join(dir, "files"), 0o700)) // a directory is a bucket
	gateway := exec.Command(program, "--access", "key", "--secret", "secret", "--port", address, "--quiet", "--keep-alive", "posix", dir)
	check(gateway.Start())
	t.Cleanup(func() {
		_ = gateway.Process.Kill()
		_ = gateway.Wait() // it was killed
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		resp, err := http.Get("http://" + address)
		if err == nil {
			check(resp.Body.Close())
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	// The realm's clock stands still; the store checks the lifetime of a ticket with its own.
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s3, err := blob.OpenS3(blob.S3Options{
		Endpoint: &url.URL{Scheme: "http", Host: address}, Region: "us-east-1", Bucket: "files", Prefix: "realm/",
		AccessKey: "key", SecretKey: "secret", Now: func() time.Time { return now },
	})
	check(err)
	return newBlobRealm(t, wide(), api.BlobOptions{Store: s3, Limits: limits})
}

func tagOf(rep reply) string { return strings.Trim(rep.header.Get("ETag"), `"`) }

// D9, D12 and D14 with a store that receives the bytes directly: they are checked again before they
// become a blob.
func TestBlobAttacksInS3(t *testing.T) {
	const big = wire.MinBlobPart
	r := newS3Realm(t, store.BlobLimits{Quota: 20 << 20, Size: 20 << 20})
	alice, bob := r.join("alice"), r.join("bob")
	token := alice.token(wire.RoleAPI)
	refused := func(what string, rep reply) {
		t.Helper()
		if rep.status >= 200 && rep.status < 300 {
			t.Errorf("%s: %d", what, rep.status)
		}
	}
	b := alice.create(wire.CreateBlob{Readers: []string{"bob"}})
	list, rep := alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: big}, wire.BlobPart{Number: 2, Size: 7})
	want(t, "tickets", rep, 200, "")
	one, two := list.Tickets[0].URL, list.Tickets[1].URL
	content := bytes.Repeat([]byte("x"), big)
	finish := func(size int64, etags ...string) reply {
		return r.call("POST", "/v1/blobs/"+b.ID+"/complete", token, wire.CompleteBlob{Size: size, ETags: etags}, nil)
	}
	// D9: a size other than the ticket's.
	refused("more than the ticket", r.data("PUT", two, strings.NewReader("eight ch"), 8))
	refused("less than the ticket", r.data("PUT", two, strings.NewReader("six ch"), 6))
	refused("the whole by the ticket of the end", r.data("PUT", two, bytes.NewReader(content), big))
	// D14: a ticket is for one part of one blob and one method.
	refused("another part", r.data("PUT", strings.Replace(two, "partNumber=2", "partNumber=1", 1), strings.NewReader("1234567"), 7))
	other := alice.create(wire.CreateBlob{})
	refused("another blob", r.data("PUT", strings.Replace(two, b.ID, other.ID, 1), strings.NewReader("1234567"), 7))
	refused("a download by an upload's ticket", r.data("GET", two, nil, 0))
	refused("a deletion by an upload's ticket", r.data("DELETE", two, nil, 0))
	_, rep = bob.tickets(b.ID, wire.BlobPart{Number: 1, Size: big})
	want(t, "another account's upload", rep, 404, wire.CodeNotFound)
	rep = r.data("PUT", one, bytes.NewReader(content), big)
	want(t, "put 1", rep, 200, "")
	first := tagOf(rep)
	want(t, "a part that was never put", finish(big+7, first, "x"), 409, wire.CodeConflict)
	rep = r.data("PUT", two, strings.NewReader("1234567"), 7)
	want(t, "put 2", rep, 200, "")
	second := tagOf(rep)
	rep = r.data("PUT", two, strings.NewReader("7654321"), 7)
	want(t, "put 2 again", rep, 200, "")
	again := tagOf(rep)
	want(t, "what was replaced", finish(big+7, first, second), 409, wire.CodeConflict)
	want(t, "parts exchanged", finish(big+7, again, first), 409, wire.CodeConflict)
	want(t, "a size that the parts have not", finish(big+8, first, again), 409, wire.CodeConflict)
	_, rep = bob.download(b.ID)
	want(t, "a download before the end", rep, 404, wire.CodeNotFound)
	want(t, "complete", finish(big+7, first, again), 200, "")
	want(t, "complete again", finish(big+7, first, again), 200, "")
	refused("put after the end", r.data("PUT", two, strings.NewReader("1234567"), 7))
	d, rep := bob.download(b.ID)
	want(t, "download", rep, 200, "")
	if rep := r.data("GET", d.Ticket.URL, nil, 0); !bytes.Equal(rep.body, append(content, "7654321"...)) {
		t.Error("the complete blob differs")
	}
	refused("an upload by a download's ticket", r.data("PUT", d.Ticket.URL, strings.NewReader("1234567"), 7))
	refused("another blob by a download's ticket", r.data("GET", strings.Replace(d.Ticket.URL, b.ID, other.ID, 1), nil, 0))
	// D12: reservations count even if the parts never arrive.
	var taken sync.Map
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			var made wire.Blob
			rep := r.call("POST", "/v1/blobs", token, wire.CreateBlob{Readers: []string{}, Size: 1 << 20}, &made)
			switch {
			case rep.status == 200:
				taken.Store(i, made.ID)
			case rep.code != wire.CodeQuota:
				t.Errorf("%d %s", rep.status, rep.body)
			}
		})
	}
	wg.Wait()
	n := 0
	taken.Range(func(any, any) bool { n++; return true })
	if most := (20<<20 - big - 7) / (1 << 20); n != most {
		t.Errorf("%d uploads were taken, want %d", n, most)
	}
	// A month later nothing remains: no rows, no objects, no parts.
	r.clock.Advance(31 * 24 * time.Hour)
	alice.sweep()
	u, err := r.store.BlobUsage(t.Context(), "alice")
	if err != nil || u.Bytes != 0 || u.Blobs != 0 {
		t.Errorf("%+v %v", u, err)
	}
	if ids, err := r.blobs.List(t.Context(), [16]byte{}, 100); err != nil || len(ids) != 0 {
		t.Errorf("%x %v", ids, err)
	}
	refused("a download of what is gone", r.data("GET", d.Ticket.URL, nil, 0))
}

// A completion interrupted between S3 and the row is repaired by the next call, whichever it is.
func TestBlobCompletionCutOffInS3(t *testing.T) {
	r := newS3Realm(t, store.BlobLimits{})
	alice := r.join("alice")
	token := alice.token(wire.RoleAPI)
	for _, next := range []string{"state", "complete"} {
		up := alice.upload("hello")
		id, _ := blob.ParseID(up.id)
		row, err := r.store.OwnBlob(t.Context(), id, "alice", r.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.blobs.Complete(t.Context(), id, row.Upload, []blob.Part{{Number: 1, Size: 5, ETag: up.etag}}); err != nil {
			t.Fatal(err)
		}
		if next == "state" {
			var b wire.Blob
			want(t, "state", r.call("GET", "/v1/blobs/"+up.id, token, nil, &b), 200, "")
			if !b.Complete || b.Size != 5 {
				t.Errorf("%+v", b)
			}
		}
		_, rep := alice.complete(up, 5)
		want(t, "complete", rep, 200, "")
		d, rep := alice.download(up.id)
		want(t, "download", rep, 200, "")
		if rep := r.data("GET", d.Ticket.URL, nil, 0); string(rep.body) != "hello" {
			t.Errorf("%d %q", rep.status, rep.body)
		}
	}
}
