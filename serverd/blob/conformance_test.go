package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/wire"
)

// backend is a store under test, with a way to use its URLs.
type backend struct {
	Store
	base string // prefix of URLs that begin with a slash
	now  func() time.Time
	// late advances the time so far that tickets of one second have expired.
	late func()
}

// opener opens an empty backend under test.
type opener func(t *testing.T) backend

// testStore is the conformance suite that every backend passes.
func testStore(t *testing.T, open opener) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, backend)
	}{
		{"RoundTrip", testRoundTrip},
		{"Replace", testReplace},
		{"Sizes", testSizes},
		{"Complete", testComplete},
		{"Ranges", testRanges},
		{"Delete", testDelete},
		{"List", testList},
		{"Expiry", testExpiry},
		{"Tampered", testTampered},
		{"Parallel", testParallel},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: got error %v, want %v", what, err, target)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// do uses a URL.
func (b backend) do(t *testing.T, method, u string, body io.Reader, length int64, rng string) (status int, data []byte, h http.Header) {
	t.Helper()
	if strings.HasPrefix(u, "/") {
		u = b.base + u
	}
	req, err := http.NewRequestWithContext(ctxOf(t), method, u, body)
	must(t, err)
	if body != nil {
		req.ContentLength = length
	}
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, nil, nil // a store may close a connection that it refuses
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, data, resp.Header
}

func (b backend) ticket(id [16]byte, life time.Duration) Ticket {
	return Ticket{ID: id, Account: "alice", Expires: b.now().Add(life)}
}

func (b backend) create(t *testing.T) (id [16]byte, upload string) {
	t.Helper()
	id = NewID()
	upload, err := b.Create(ctxOf(t), id)
	must(t, err)
	t.Cleanup(func() { _ = b.Delete(context.Background(), id) })
	return id, upload
}

func (b backend) put(t *testing.T, id [16]byte, upload string, number int, content []byte) Part {
	t.Helper()
	u, err := b.PutURL(ctxOf(t), b.ticket(id, time.Minute), upload, number, int64(len(content)))
	must(t, err)
	status, answer, h := b.do(t, "PUT", u, bytes.NewReader(content), int64(len(content)), "")
	// A request that the client gave up before may reach the server after this one and take its place. Clients then
	// send the part again.
	for late := time.Now().Add(time.Minute); status == http.StatusServiceUnavailable && time.Now().Before(late); {
		status, answer, h = b.do(t, "PUT", u, bytes.NewReader(content), int64(len(content)), "")
	}
	if status != http.StatusOK {
		t.Fatalf("put: %d %s", status, answer)
	}
	return Part{Number: number, Size: int64(len(content)), ETag: strings.Trim(h.Get("ETag"), `"`)}
}

func (b backend) get(t *testing.T, id [16]byte, rng string) (int, []byte) {
	t.Helper()
	u, err := b.GetURL(ctxOf(t), b.ticket(id, time.Minute))
	must(t, err)
	status, data, _ := b.do(t, "GET", u, nil, 0, rng)
	return status, data
}

func testRoundTrip(t *testing.T, b backend) {
	id, upload := b.create(t)
	parts, err := b.Parts(ctxOf(t), id, upload)
	must(t, err)
	if len(parts) != 0 {
		t.Fatal(parts)
	}
	one, two := random(wire.MinBlobPart), random(1)
	stored := []Part{{}, b.put(t, id, upload, 2, two)} // in any order
	stored[0] = b.put(t, id, upload, 1, one)
	parts, err = b.Parts(ctxOf(t), id, upload)
	must(t, err)
	if !slices.Equal(parts, stored) {
		t.Fatalf("%v, put %v", parts, stored)
	}
	if status, _ := b.get(t, id, ""); status != http.StatusNotFound {
		t.Fatalf("an upload can be fetched: %d", status)
	}
	must(t, b.Complete(ctxOf(t), id, upload, stored))
	must(t, b.Complete(ctxOf(t), id, upload, stored))
	_, err = b.Parts(ctxOf(t), id, upload)
	want(t, "parts of a complete blob", err, ErrNotFound)
	if status, data := b.get(t, id, ""); status != http.StatusOK || !bytes.Equal(data, append(one, two...)) {
		t.Fatalf("%d, %d bytes", status, len(data))
	}
}

func testReplace(t *testing.T, b backend) {
	id, upload := b.create(t)
	first := b.put(t, id, upload, 1, []byte("first"))
	second := b.put(t, id, upload, 1, []byte("again"))
	want(t, "complete with the old part", b.Complete(ctxOf(t), id, upload, []Part{first}), ErrConflict)
	must(t, b.Complete(ctxOf(t), id, upload, []Part{second}))
	if _, data := b.get(t, id, ""); string(data) != "again" {
		t.Fatalf("%q", data)
	}
}

// D9: the size is part of the signed URL.
func testSizes(t *testing.T, b backend) {
	id, upload := b.create(t)
	u, err := b.PutURL(ctxOf(t), b.ticket(id, time.Minute), upload, 1, 5)
	must(t, err)
	for _, text := range []string{"", "four", "sixsix", strings.Repeat("x", 1<<20)} {
		if status, _, _ := b.do(t, "PUT", u, strings.NewReader(text), int64(len(text)), ""); status == http.StatusOK {
			t.Errorf("%d bytes were accepted instead of 5", len(text))
		}
	}
	if status, _, _ := b.do(t, "PUT", u, io.MultiReader(strings.NewReader("five!")), -1, ""); status == http.StatusOK {
		t.Error("a body without a length was accepted")
	}
	if status, _, _ := b.do(t, "PUT", u, io.MultiReader(strings.NewReader("cut")), 5, ""); status == http.StatusOK {
		t.Error("a body that ends early was accepted")
	}
	parts, err := b.Parts(ctxOf(t), id, upload)
	must(t, err)
	if len(parts) != 0 {
		t.Errorf("stored: %v", parts)
	}
	part := b.put(t, id, upload, 1, []byte("right"))
	must(t, b.Complete(ctxOf(t), id, upload, []Part{part}))
}

func testComplete(t *testing.T, b backend) {
	id, upload := b.create(t)
	one := b.put(t, id, upload, 1, random(wire.MinBlobPart))
	two := b.put(t, id, upload, 2, random(wire.MinBlobPart))
	three := b.put(t, id, upload, 3, []byte("left over"))
	changed := one
	changed.Size++
	for name, parts := range map[string][]Part{
		"none": {}, "a gap": {one, three}, "exchanged": {two, one}, "twice": {one, one}, "another size": {changed, two},
		"not from 1": {two}, "one that is not there": {one, two, three, {Number: 4, Size: 1, ETag: "x"}},
	} {
		want(t, name, b.Complete(ctxOf(t), id, upload, parts), ErrConflict)
	}
	must(t, b.Complete(ctxOf(t), id, upload, []Part{one, two})) // the third is dropped
	want(t, "with other parts", b.Complete(ctxOf(t), id, upload, []Part{one}), ErrConflict)
	if _, data := b.get(t, id, ""); len(data) != 2*wire.MinBlobPart {
		t.Errorf("%d bytes", len(data))
	}
	want(t, "nothing", b.Complete(ctxOf(t), NewID(), upload, []Part{one}), ErrNotFound)
}

func testRanges(t *testing.T, b backend) {
	id, upload := b.create(t)
	const n = wire.MinBlobPart
	content := random(2*n + 10)
	var parts []Part
	for i, p := range [][]byte{content[:n], content[n : 2*n], content[2*n:]} {
		parts = append(parts, b.put(t, id, upload, i+1, p))
	}
	must(t, b.Complete(ctxOf(t), id, upload, parts))
	for _, c := range []struct{ first, last int }{
		{0, 0}, {0, n - 1}, {0, n}, {n - 1, n}, {n, n}, {n, 2*n - 1}, {n - 5, 2*n + 3}, {2 * n, 2*n + 9}, {2*n + 9, 2*n + 9}, {0, 2*n + 9},
	} {
		status, data := b.get(t, id, fmt.Sprintf("bytes=%d-%d", c.first, c.last))
		if status != http.StatusPartialContent || !bytes.Equal(data, content[c.first:c.last+1]) {
			t.Errorf("%d-%d: %d, %d bytes", c.first, c.last, status, len(data))
		}
	}
	if status, data := b.get(t, id, fmt.Sprintf("bytes=%d-", 2*n+5)); status != http.StatusPartialContent || !bytes.Equal(data, content[2*n+5:]) {
		t.Errorf("open end: %d", status)
	}
	if status, _ := b.get(t, id, fmt.Sprintf("bytes=%d-", 2*n+10)); status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("after the end: %d", status)
	}
}

func testDelete(t *testing.T, b backend) {
	must(t, b.Delete(ctxOf(t), NewID()))
	id, upload := b.create(t)
	part := b.put(t, id, upload, 1, []byte("x"))
	u, err := b.PutURL(ctxOf(t), b.ticket(id, time.Minute), upload, 1, 1)
	must(t, err)
	must(t, b.Delete(ctxOf(t), id))
	want(t, "complete", b.Complete(ctxOf(t), id, upload, []Part{part}), ErrNotFound)
	_, err = b.Parts(ctxOf(t), id, upload)
	want(t, "parts", err, ErrNotFound)
	if status, _, _ := b.do(t, "PUT", u, strings.NewReader("x"), 1, ""); status != http.StatusNotFound {
		t.Errorf("put into a deleted blob: %d", status)
	}
	whole, upload := b.create(t)
	must(t, b.Complete(ctxOf(t), whole, upload, []Part{b.put(t, whole, upload, 1, []byte("x"))}))
	must(t, b.Delete(ctxOf(t), whole))
	must(t, b.Delete(ctxOf(t), whole))
	if status, _ := b.get(t, whole, ""); status != http.StatusNotFound {
		t.Errorf("get: %d", status)
	}
	ids, err := b.List(ctxOf(t), [16]byte{}, 10)
	must(t, err)
	if len(ids) != 0 {
		t.Errorf("left: %x", ids)
	}
}

func testList(t *testing.T, b backend) {
	var made [][16]byte
	for i := range 5 {
		id, upload := b.create(t)
		part := b.put(t, id, upload, 1, []byte("x"))
		if i%2 == 0 {
			must(t, b.Complete(ctxOf(t), id, upload, []Part{part}))
		}
		made = append(made, id)
	}
	slices.SortFunc(made, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	var got [][16]byte
	for after := ([16]byte{}); ; {
		ids, err := b.List(ctxOf(t), after, 2)
		must(t, err)
		if len(ids) == 0 {
			break
		}
		got = append(got, ids...)
		after = ids[len(ids)-1]
	}
	if !slices.Equal(got, made) {
		t.Errorf("%x\nmade %x", got, made)
	}
	must(t, b.Ping(ctxOf(t)))
}

func testExpiry(t *testing.T, b backend) {
	id, upload := b.create(t)
	put, err := b.PutURL(ctxOf(t), b.ticket(id, time.Second), upload, 1, 1)
	must(t, err)
	part := b.put(t, id, upload, 1, []byte("x"))
	must(t, b.Complete(ctxOf(t), id, upload, []Part{part}))
	get, err := b.GetURL(ctxOf(t), b.ticket(id, time.Second))
	must(t, err)
	b.late()
	for method, u := range map[string]string{"PUT": put, "GET": get} {
		if status, _, _ := b.do(t, method, u, strings.NewReader("x"), 1, ""); status != http.StatusForbidden {
			t.Errorf("%s: %d", method, status)
		}
	}
}

func testTampered(t *testing.T, b backend) {
	id, upload := b.create(t)
	other, otherUpload := b.create(t)
	part := b.put(t, id, upload, 1, []byte("x"))
	must(t, b.Complete(ctxOf(t), id, upload, []Part{part}))
	get, err := b.GetURL(ctxOf(t), b.ticket(id, time.Minute))
	must(t, err)
	put, err := b.PutURL(ctxOf(t), b.ticket(other, time.Minute), otherUpload, 1, 1)
	must(t, err)
	number := strings.NewReplacer("part=1", "part=2", "partNumber=1", "partNumber=2")
	for name, c := range map[string]struct{ method, url string }{
		"put by a ticket to get":   {"PUT", get},
		"get by a ticket to put":   {"GET", put},
		"delete by a ticket":       {"DELETE", get},
		"another part":             {"PUT", number.Replace(put)},
		"another blob":             {"PUT", strings.Replace(put, FormatID(other), FormatID(id), 1)},
		"without a query":          {"GET", strings.Split(get, "?")[0]},
		"a signature cut":          {"GET", get[:len(get)-1]},
		"a blob that is not there": {"GET", strings.Replace(get, FormatID(id), FormatID(NewID()), 1)},
	} {
		if status, _, _ := b.do(t, c.method, c.url, strings.NewReader("x"), 1, ""); status < 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if _, data := b.get(t, id, ""); string(data) != "x" {
		t.Errorf("%q", data)
	}
}

func testParallel(t *testing.T, b backend) {
	id, upload := b.create(t)
	const n = 4
	content := random(n * wire.MinBlobPart)
	parts := make([]Part, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			parts[i] = b.put(t, id, upload, i+1, content[i*wire.MinBlobPart:(i+1)*wire.MinBlobPart])
		})
	}
	wg.Wait()
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = b.Complete(ctxOf(t), id, upload, parts) })
	}
	wg.Wait()
	if err := b.Complete(ctxOf(t), id, upload, parts); err != nil {
		t.Fatal(err, errors.Join(errs...))
	}
	for i := range n {
		wg.Go(func() {
			first := i * wire.MinBlobPart
			if _, data := b.get(t, id, fmt.Sprintf("bytes=%d-%d", first, first+wire.MinBlobPart-1)); !bytes.Equal(data, content[first:first+wire.MinBlobPart]) {
				t.Errorf("part %d differs", i+1)
			}
		})
	}
	wg.Wait()
}
