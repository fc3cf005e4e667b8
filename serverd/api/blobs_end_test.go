package api_test

import (
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/blob"
)

// The result of a crash between the two stores is repaired when the owner asks.
func TestBlobCompletionCutOff(t *testing.T) {
	r := newRealm(t, wide())
	alice := r.join("alice")
	up := alice.upload("hello")
	id, _ := blob.ParseID(up.id)
	if err := r.blobs.Complete(t.Context(), id, "", []blob.Part{{Number: 1, Size: 5, ETag: up.etag}}); err != nil {
		t.Fatal(err)
	}
	var b wire.Blob
	want(t, "state", r.call("GET", "/v1/blobs/"+up.id, alice.token(wire.RoleAPI), nil, &b), 200, "")
	if !b.Complete || b.Size != 5 {
		t.Errorf("%+v", b)
	}
	_, rep := alice.complete(up, 5)
	want(t, "complete", rep, 200, "")
}

// Deleting an account deletes its blobs and its access to others' blobs.
func TestBlobsOfDeletedAccount(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	hers, his := alice.blob("hers", "bob"), bob.blob("his", "alice")
	if err := r.store.DeleteAccount(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	_, rep := bob.download(hers.id)
	want(t, "download", rep, 404, wire.CodeNotFound)
	r.clock.Advance(3 * time.Second)
	next := r.join("alice")
	_, rep = next.download(his.id)
	want(t, "the next of that name", rep, 404, wire.CodeNotFound)
	if u, err := r.store.BlobUsage(t.Context(), "alice"); err != nil || u.Bytes != 0 {
		t.Errorf("%+v %v", u, err)
	}
	next.sweep()
	id, _ := blob.ParseID(hers.id)
	if ids, err := r.blobs.List(t.Context(), [16]byte{}, 10); err != nil || len(ids) != 1 || ids[0] == id {
		t.Errorf("%x %v", ids, err)
	}
}
