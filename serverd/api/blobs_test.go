package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/api"
	"secmsg/serverd/blob"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

// uploaded is a blob of one part.
type uploaded struct{ id, etag string }

// data makes a request to a ticket's URL over a real connection.
func (r *realm) data(method, path string, body io.Reader, length int64, header ...string) reply {
	r.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = r.server.URL + path
	}
	req, err := http.NewRequest(method, path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if body != nil {
		req.ContentLength = length
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.server.Client().Do(req)
	if err != nil {
		r.t.Logf("%s: %v", method, err)
		return reply{}
	}
	defer resp.Body.Close()
	out := reply{status: resp.StatusCode, header: resp.Header}
	if out.body, err = io.ReadAll(resp.Body); err != nil {
		r.t.Logf("%s: %v", method, err)
	}
	var e wire.ErrorBody
	if json.Unmarshal(out.body, &e) == nil && e.Error != nil {
		out.code = e.Error.Code
	}
	return out
}

// create begins an upload.
func (u *user) create(c wire.CreateBlob) wire.Blob {
	u.r.t.Helper()
	var b wire.Blob
	if c.Readers == nil {
		c.Readers = []string{}
	}
	if rep := u.r.call("POST", "/v1/blobs", u.token(wire.RoleAPI), c, &b); rep.status != http.StatusOK {
		u.r.t.Fatalf("create: %d %s", rep.status, rep.body)
	}
	return b
}

func (u *user) tickets(id string, parts ...wire.BlobPart) (list wire.BlobTicketList, rep reply) {
	u.r.t.Helper()
	rep = u.r.call("POST", "/v1/blobs/"+id+"/tickets", u.token(wire.RoleAPI), wire.BlobTickets{Parts: parts}, &list)
	return list, rep
}

// put uploads a blob's only part.
func (u *user) put(id, text string) (etag string) {
	u.r.t.Helper()
	list, rep := u.tickets(id, wire.BlobPart{Number: 1, Size: int64(len(text))})
	if rep.status != http.StatusOK {
		u.r.t.Fatalf("tickets: %d %s", rep.status, rep.body)
	}
	rep = u.r.data("PUT", list.Tickets[0].URL, strings.NewReader(text), int64(len(text)))
	if rep.status != http.StatusOK {
		u.r.t.Fatalf("put: %d %s", rep.status, rep.body)
	}
	return strings.Trim(rep.header.Get("ETag"), `"`)
}

// upload uploads a blob's only part without completing the blob.
func (u *user) upload(text string, readers ...string) uploaded {
	u.r.t.Helper()
	b := u.create(wire.CreateBlob{Readers: readers})
	return uploaded{b.ID, u.put(b.ID, text)}
}

func (u *user) complete(up uploaded, size int) (b wire.Blob, rep reply) {
	u.r.t.Helper()
	rep = u.r.call("POST", "/v1/blobs/"+up.id+"/complete", u.token(wire.RoleAPI), wire.CompleteBlob{Size: int64(size), ETags: []string{up.etag}}, &b)
	return b, rep
}

// blob stores a complete blob.
func (u *user) blob(text string, readers ...string) uploaded {
	u.r.t.Helper()
	up := u.upload(text, readers...)
	if _, rep := u.complete(up, len(text)); rep.status != http.StatusOK {
		u.r.t.Fatalf("complete: %d %s", rep.status, rep.body)
	}
	return up
}

func (u *user) download(id string) (d wire.BlobDownload, rep reply) {
	u.r.t.Helper()
	rep = u.r.call("POST", "/v1/blobs/"+id+"/download", u.token(wire.RoleAPI), nil, &d)
	return d, rep
}

// TestBlobsBegunAreLimited bounds the cost of one account's calls to the store's only writer: new
// uploads, including refused ones, and repeated completions.
func TestBlobsBegunAreLimited(t *testing.T) {
	r := newBlobRealm(t, wide(), api.BlobOptions{New: limit.Rate{Burst: 3, Every: time.Second}, Limits: store.BlobLimits{Count: 1}})
	alice, bob := r.join("alice"), r.join("bob")
	begin := func(u *user) reply {
		return r.call("POST", "/v1/blobs", u.token(wire.RoleAPI), wire.CreateBlob{Readers: []string{}}, nil)
	}
	up := alice.upload("hello")
	for _, code := range []wire.Code{wire.CodeQuota, wire.CodeQuota, wire.CodeRateLimited} {
		want(t, "begin", begin(alice), http.StatusTooManyRequests, code)
	}
	if rep := begin(alice); rep.header.Get("Retry-After") != "1" {
		t.Errorf("no time to wait: %v %s", rep.header, rep.body)
	}
	want(t, "somebody else", begin(bob), http.StatusOK, "")
	r.clock.Advance(time.Second)
	want(t, "later", begin(alice), http.StatusTooManyRequests, wire.CodeQuota)
	_, rep := alice.complete(up, 5)
	want(t, "complete", rep, http.StatusOK, "")
	r.store.readOnly(true)
	_, rep = alice.complete(up, 5)
	want(t, "complete again, with a store that cannot write", rep, http.StatusOK, "")
}

// The life of a blob: upload, completion (twice the same), download, ranges, counts, deletion, expiry.
func TestBlobLife(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	up := alice.upload("hello, world", "bob", "nobody")
	var b wire.Blob
	want(t, "state", r.call("GET", "/v1/blobs/"+up.id, alice.token(wire.RoleAPI), nil, &b), 200, "")
	if b.Complete || b.Size != 12 || len(b.Parts) != 1 || b.Parts[0] != (wire.BlobPart{Number: 1, Size: 12, ETag: up.etag}) || b.ExpiresMS != r.clock.Now().Add(24*time.Hour).UnixMilli() {
		t.Fatalf("%+v", b)
	}
	_, rep := bob.download(up.id)
	want(t, "download before it is complete", rep, 404, wire.CodeNotFound)
	first, rep := alice.complete(uploaded{up.id, `"` + up.etag + `"`}, 12) // as in the header
	want(t, "complete", rep, 200, "")
	again, rep := alice.complete(up, 12)
	want(t, "complete again", rep, 200, "")
	if fmt.Sprint(first) != fmt.Sprint(again) || !first.Complete || first.Size != 12 || first.ExpiresMS != r.clock.Now().Add(30*24*time.Hour).UnixMilli() {
		t.Fatalf("%+v, then %+v", first, again)
	}
	d, rep := bob.download(up.id)
	want(t, "download", rep, 200, "")
	if d.Size != 12 || d.ExpiresMS != first.ExpiresMS || !strings.HasPrefix(d.Ticket.URL, wire.PathBlobData) {
		t.Fatalf("%+v", d)
	}
	for _, c := range []struct {
		rng, text string
		status    int
	}{
		{"", "hello, world", 200}, {"bytes=7-", "world", 206}, {"bytes=0-4", "hello", 206}, {"bytes=-5", "world", 206},
		{"bytes=12-", "", 416}, {"bytes=0-1,3-4", "", 416}, {"lines=1-2", "", 416},
	} {
		rep := r.data("GET", d.Ticket.URL, nil, 0, "Range", c.rng)
		if rep.status != c.status || c.text != "" && string(rep.body) != c.text {
			t.Errorf("range %q: %d %q", c.rng, rep.status, rep.body)
		}
	}
	if rep := r.data("HEAD", d.Ticket.URL, nil, 0); rep.status != 200 || rep.header.Get("Content-Length") != "12" {
		t.Errorf("head: %d %v", rep.status, rep.header)
	}
	want(t, "count", r.call("GET", "/v1/blobs/"+up.id, alice.token(wire.RoleAPI), nil, &b), 200, "")
	if b.Downloads != 1 || len(b.Parts) != 0 {
		t.Errorf("%+v", b)
	}
	want(t, "deletion by a reader", r.call("DELETE", "/v1/blobs/"+up.id, bob.token(wire.RoleAPI), nil, nil), 404, wire.CodeNotFound)
	want(t, "deletion", r.call("DELETE", "/v1/blobs/"+up.id, alice.token(wire.RoleAPI), nil, nil), 204, "")
	_, rep = bob.download(up.id)
	want(t, "download after the deletion", rep, 404, wire.CodeNotFound)
	if r.swept.Load() != 1 {
		t.Error("the sweeper was not called")
	}
	said := alice.create(wire.CreateBlob{Readers: []string{"bob"}, Size: 7})
	if want(t, "said", r.call("GET", "/v1/blobs/"+said.ID, alice.token(wire.RoleAPI), nil, &b), 200, ""); said.Size != 7 || b.Size != 7 {
		t.Errorf("a blob of a size that was said: %+v, then %+v", said, b)
	}
	short := alice.create(wire.CreateBlob{Readers: []string{"bob"}, LifeMS: 1000})
	etag := alice.put(short.ID, "x")
	_, rep = alice.complete(uploaded{short.ID, etag}, 1)
	want(t, "short", rep, 200, "")
	d, rep = bob.download(short.ID)
	want(t, "in time", rep, 200, "")
	r.clock.Advance(time.Second)
	_, rep = bob.download(short.ID)
	want(t, "expired", rep, 404, wire.CodeNotFound)
	want(t, "with an old ticket", r.data("GET", d.Ticket.URL, nil, 0), 403, wire.CodeTicket)
}

// D10: another account's blob cannot be distinguished from one that does not exist.
func TestBlobCapabilityLeak(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob, carol := r.join("alice"), r.join("bob"), r.join("carol")
	up := alice.blob("secret", "bob")
	token := carol.token(wire.RoleAPI)
	var bodies []string
	for _, id := range []string{up.id, strings.Repeat("0", 32), strings.ToUpper(up.id), up.id[:31], "..", "%2e%2e%2f" + up.id, strings.Repeat("a", 128)} {
		for _, c := range []struct {
			method, rest string
			body         any
		}{
			{"GET", "", nil}, {"DELETE", "", nil}, {"POST", "/download", nil}, {"POST", "/tickets", wire.BlobTickets{Parts: []wire.BlobPart{{Number: 1, Size: 1}}}},
			{"POST", "/complete", wire.CompleteBlob{Size: 6, ETags: []string{up.etag}}},
		} {
			if id == ".." {
				continue // the mux answers it itself
			}
			rep := r.call(c.method, "/v1/blobs/"+id+c.rest, token, c.body, nil)
			want(t, c.method+" "+id+c.rest, rep, 404, wire.CodeNotFound)
			bodies = append(bodies, string(rep.body))
		}
	}
	for _, b := range bodies {
		if b != bodies[0] {
			t.Errorf("%q and %q", b, bodies[0])
		}
	}
	// An account that the owner has blocked meanwhile gets nothing either, nor does one that took over
	// the name of a reader.
	if err := r.store.SetRelation(t.Context(), "alice", "bob", store.RelationBlocked); err != nil {
		t.Fatal(err)
	}
	_, rep := bob.download(up.id)
	want(t, "blocked", rep, 404, wire.CodeNotFound)
	if string(rep.body) != bodies[0] {
		t.Errorf("%q", rep.body)
	}
	// The work is the same, one look-up each, so their times overlap widely.
	median := func(id string) time.Duration {
		best := time.Hour
		for range 40 {
			start := time.Now()
			r.call("POST", "/v1/blobs/"+id+"/download", token, nil, nil)
			best = min(best, time.Since(start))
		}
		return best
	}
	known, unknown := median(up.id), median(strings.Repeat("0", 32))
	if known > 3*unknown || unknown > 3*known {
		t.Errorf("known %v, unknown %v", known, unknown)
	}
	ids := map[[16]byte]bool{}
	for range 1000 {
		ids[blob.NewID()] = true
	}
	if len(ids) != 1000 {
		t.Error("blob ids repeat")
	}
}

// D12: 200 uploads at once, none finished: the quota applies to reserved bytes.
func TestBlobQuotaOnReservedBytes(t *testing.T) {
	const size = 1 << 20
	for _, declared := range []bool{true, false} {
		r := newBlobRealm(t, wide(), api.BlobOptions{Limits: store.BlobLimits{Quota: 50 * size}})
		alice := r.join("alice")
		token := alice.token(wire.RoleAPI)
		var mu sync.Mutex
		taken, refused := 0, 0
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				var c wire.CreateBlob
				c.Readers = []string{}
				if declared {
					c.Size = size
				}
				var b wire.Blob
				rep := r.call("POST", "/v1/blobs", token, c, &b)
				if rep.status == 200 && !declared {
					rep = r.call("POST", "/v1/blobs/"+b.ID+"/tickets", token, wire.BlobTickets{Parts: []wire.BlobPart{{Number: 1, Size: size}}}, nil)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case rep.status == 200:
					taken++
				case rep.code == wire.CodeQuota:
					refused++
				default:
					t.Errorf("%d %s", rep.status, rep.body)
				}
			})
		}
		wg.Wait()
		if taken != 50 || refused != 150 {
			t.Errorf("declared %v: %d were accepted, %d refused", declared, taken, refused)
		}
		u, err := r.store.BlobUsage(t.Context(), "alice")
		if err != nil || u.Bytes != 50*size {
			t.Errorf("%+v %v", u, err)
		}
		// A day later they are gone, and there is room again.
		r.clock.Advance(24 * time.Hour)
		alice.sweep()
		if u, err := r.store.BlobUsage(t.Context(), "alice"); err != nil || u.Bytes != 0 || u.Blobs != 0 {
			t.Errorf("%+v %v", u, err)
		}
		alice.blob("fits")
	}
}

// sweep does the same as the server's sweeper.
func (u *user) sweep() {
	r := u.r
	r.t.Helper()
	for {
		_, err := r.store.ExpireBlobs(r.t.Context(), r.clock.Now(), 100)
		if err != nil {
			r.t.Fatal(err)
		}
		ids, err := r.store.DeadBlobs(r.t.Context(), [16]byte{}, 100)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(ids) == 0 {
			return
		}
		for _, id := range ids {
			if err := r.blobs.Delete(r.t.Context(), id); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := r.store.ForgetBlobs(r.t.Context(), ids); err != nil {
			r.t.Fatal(err)
		}
	}
}

// D9: the uploaded size must equal the declared size.
func TestBlobDeclaredSizeLies(t *testing.T) {
	r := newBlobRealm(t, wide(), api.BlobOptions{Limits: store.BlobLimits{Size: 20 << 20, Quota: 30 << 20}})
	alice := r.join("alice")
	token := alice.token(wire.RoleAPI)
	b := alice.create(wire.CreateBlob{Size: 10})
	_, rep := alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: 11})
	want(t, "a part over the declared size", rep, 413, wire.CodeTooLarge)
	list, rep := alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: 10})
	want(t, "tickets", rep, 200, "")
	u := list.Tickets[0].URL
	want(t, "more than the ticket", r.data("PUT", u, strings.NewReader("elevenbytes"), 11), 413, wire.CodeTooLarge)
	want(t, "less than the ticket", r.data("PUT", u, strings.NewReader("nine byte"), 9), 400, wire.CodeMalformed)
	want(t, "no length", r.data("PUT", u, io.MultiReader(strings.NewReader("ten bytes!")), -1), 411, wire.CodeMalformed)
	if rep := r.data("PUT", u, strings.NewReader("ends early"), 10); rep.status != 200 {
		t.Errorf("%d %s", rep.status, rep.body)
	}
	// A body that ends before its length stores nothing, and keeps the existing part.
	if rep := r.data("PUT", u, io.MultiReader(strings.NewReader("short")), 10); rep.status == 200 {
		t.Error("a body shorter than its part was accepted")
	}
	var state wire.Blob
	want(t, "state", r.call("GET", "/v1/blobs/"+b.ID, token, nil, &state), 200, "")
	if len(state.Parts) != 1 || state.Parts[0].Size != 10 {
		t.Errorf("%+v", state)
	}
	// The whole blob must have its declared size.
	half := alice.create(wire.CreateBlob{Size: 10})
	etag := alice.put(half.ID, "five5")
	_, rep = alice.complete(uploaded{half.ID, etag}, 5)
	want(t, "less than declared", rep, 409, wire.CodeConflict)
	_, rep = alice.complete(uploaded{half.ID, etag}, 10)
	want(t, "a size that the parts have not", rep, 409, wire.CodeConflict)
	// Over the limits.
	want(t, "too large", r.call("POST", "/v1/blobs", token, wire.CreateBlob{Readers: []string{}, Size: 20<<20 + 1}, nil), 413, wire.CodeTooLarge)
	open := alice.create(wire.CreateBlob{})
	for i := range 3 {
		_, rep = alice.tickets(open.ID, wire.BlobPart{Number: i + 1, Size: 8 << 20})
	}
	want(t, "parts over the size", rep, 413, wire.CodeTooLarge)
	for _, n := range []int64{-1, 1 << 62} {
		rep := r.call("POST", "/v1/blobs", token, wire.CreateBlob{Readers: []string{}, Size: n}, nil)
		if rep.status != 400 && rep.status != 413 {
			t.Errorf("size %d: %d %s", n, rep.status, rep.body)
		}
	}
}

// D14: parts at the wrong position, twice, too small, after the end, and of other blobs.
func TestBlobResumeConfusion(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	const big = wire.MinBlobPart
	b := alice.create(wire.CreateBlob{})
	for name, parts := range map[string][]wire.BlobPart{
		"none": {}, "number 0": {{Number: 0, Size: 1}}, "negative": {{Number: -1, Size: 1}}, "too high": {{Number: wire.MaxBlobParts + 1, Size: 1}},
		"twice": {{Number: 1, Size: 1}, {Number: 1, Size: 1}}, "empty": {{Number: 1, Size: 0}}, "too long": {{Number: 1, Size: wire.BlobPartSize + 1}},
		"too many": make([]wire.BlobPart, wire.MaxBlobTickets+1),
	} {
		_, rep := alice.tickets(b.ID, parts...)
		want(t, name, rep, 400, wire.CodeMalformed)
	}
	_, rep := alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: big - 1}, wire.BlobPart{Number: 2, Size: big})
	want(t, "a small part in the middle", rep, 409, wire.CodeConflict)
	list, rep := alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: big}, wire.BlobPart{Number: 2, Size: 7})
	want(t, "tickets", rep, 200, "")
	_, rep = alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: big})
	want(t, "the same again", rep, 200, "")
	_, rep = alice.tickets(b.ID, wire.BlobPart{Number: 1, Size: big + 1})
	want(t, "another size", rep, 409, wire.CodeConflict)
	_, rep = alice.tickets(b.ID, wire.BlobPart{Number: 3, Size: 7})
	want(t, "one behind a small one", rep, 409, wire.CodeConflict)
	_, rep = bob.tickets(b.ID, wire.BlobPart{Number: 1, Size: big})
	want(t, "another account's upload", rep, 404, wire.CodeNotFound)
	content := bytes.Repeat([]byte("x"), big)
	rep = r.data("PUT", list.Tickets[0].URL, bytes.NewReader(content), big)
	want(t, "put 1", rep, 200, "")
	one := strings.Trim(rep.header.Get("ETag"), `"`)
	want(t, "part 1 by the ticket of part 2", r.data("PUT", list.Tickets[1].URL, bytes.NewReader(content), big), 413, wire.CodeTooLarge)
	finish := func(size int64, etags ...string) reply {
		return r.call("POST", "/v1/blobs/"+b.ID+"/complete", alice.token(wire.RoleAPI), wire.CompleteBlob{Size: size, ETags: etags}, nil)
	}
	want(t, "a part that was never put", finish(big+7, one, "x"), 409, wire.CodeConflict)
	two := strings.Trim(r.data("PUT", list.Tickets[1].URL, strings.NewReader("1234567"), 7).header.Get("ETag"), `"`)
	want(t, "parts exchanged", finish(big+7, two, one), 409, wire.CodeConflict)
	want(t, "another tag", finish(big+7, one, one), 409, wire.CodeConflict)
	want(t, "no part", finish(0), 400, wire.CodeMalformed)
	want(t, "a part that was not reserved", finish(big+7, one, two, two), 409, wire.CodeConflict)
	// Uploading a part again gives it another ETag; the old one is no longer valid.
	again := strings.Trim(r.data("PUT", list.Tickets[1].URL, strings.NewReader("7654321"), 7).header.Get("ETag"), `"`)
	want(t, "complete", finish(big+7, one, again), 200, "")
	want(t, "put after the end", r.data("PUT", list.Tickets[1].URL, strings.NewReader("7654321"), 7), 409, wire.CodeConflict)
	_, rep = alice.tickets(b.ID, wire.BlobPart{Number: 3, Size: 7})
	want(t, "tickets after the end", rep, 409, wire.CodeConflict)
	d, rep := alice.download(b.ID)
	want(t, "download", rep, 200, "")
	for _, c := range []struct{ rng, want string }{{fmt.Sprintf("bytes=%d-%d", big-2, big+3), "xx7654"}, {"bytes=-3", "321"}} {
		if rep := r.data("GET", d.Ticket.URL, nil, 0, "Range", c.rng); string(rep.body) != c.want {
			t.Errorf("%s: %q", c.rng, rep.body)
		}
	}
	if rep := r.data("GET", d.Ticket.URL, nil, 0); !bytes.Equal(rep.body, append(content, "7654321"...)) {
		t.Error("the complete blob differs")
	}
}

// E12 for the signed routes: every field of a URL changed, omitted, duplicated.
func TestSignedURLs(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	up := alice.blob("hello", "bob")
	d, rep := bob.download(up.id)
	want(t, "download", rep, 200, "")
	other := alice.upload("hello")
	list, rep := alice.tickets(other.id, wire.BlobPart{Number: 1, Size: 5})
	want(t, "tickets", rep, 200, "")
	for method, good := range map[string]string{"GET": d.Ticket.URL, "PUT": list.Tickets[0].URL} {
		try := func(what, u string) {
			t.Helper()
			for _, m := range []string{method, map[string]string{"GET": "PUT", "PUT": "GET"}[method]} {
				want(t, m+" "+what, r.data(m, u, strings.NewReader("hello"), 5), 403, wire.CodeTicket)
			}
		}
		path, query, _ := strings.Cut(good, "?")
		fields, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			for what, change := range map[string]func(url.Values){
				"without":     func(q url.Values) { q.Del(name) },
				"empty":       func(q url.Values) { q.Set(name, "") },
				"twice":       func(q url.Values) { q.Add(name, q.Get(name)) },
				"another":     func(q url.Values) { q.Set(name, q.Get(name)+"1") },
				"with a sign": func(q url.Values) { q.Set(name, "+"+q.Get(name)) },
				"0":           func(q url.Values) { q.Set(name, "0"+q.Get(name)) },
				"long":        func(q url.Values) { q.Set(name, strings.Repeat("1", 5000)) },
			} {
				q := url.Values{}
				for k, v := range fields {
					q[k] = append([]string{}, v...)
				}
				change(q)
				try(name+" "+what, path+"?"+q.Encode())
			}
		}
		try("one field more", good+"&x=1")
		try("another blob", strings.Replace(good, path, wire.PathBlobData+strings.Repeat("0", 32), 1))
		try("no query", path)
		rep := r.data("DELETE", good, nil, 0)
		if rep.status == 200 {
			t.Error("deleted by a ticket")
		}
	}
	// A connection without a valid signature is closed.
	if rep := r.data("GET", wire.PathBlobData+up.id, nil, 0); !strings.EqualFold(rep.header.Get("Connection"), "close") && rep.status == 403 {
		t.Logf("header %v", rep.header) // net/http hides it from its client
	}
	// A suspended account's tickets are invalid, and so is their use by a browser.
	if err := r.store.SetSuspended(t.Context(), "bob", true); err != nil {
		t.Fatal(err)
	}
	want(t, "suspended", r.data("GET", d.Ticket.URL, nil, 0), 403, wire.CodeSuspended)
	if err := r.store.SetSuspended(t.Context(), "bob", false); err != nil {
		t.Fatal(err)
	}
	want(t, "origin", r.data("GET", d.Ticket.URL, nil, 0, "Origin", "https://evil.example"), 403, wire.CodeForbidden)
	want(t, "good", r.data("GET", d.Ticket.URL, nil, 0), 200, "")
	r.clock.Advance(wire.BlobTicketLife)
	want(t, "expired", r.data("GET", d.Ticket.URL, nil, 0), 403, wire.CodeTicket)
	want(t, "expired put", r.data("PUT", list.Tickets[0].URL, strings.NewReader("hello"), 5), 403, wire.CodeTicket)
	if log := r.log.String(); strings.Contains(log, "sig=") || strings.Contains(log, d.Ticket.URL) {
		t.Error("the log contains a ticket")
	}
}
