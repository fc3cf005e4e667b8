package blob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/clock/clocktest"
)

// openDisk opens a directory and serves it.
func openDisk(t *testing.T, dir string, change func(*DiskOptions)) (backend, *Disk) {
	t.Helper()
	c := clocktest.At(time.Unix(1_900_000_000, 0))
	opt := DiskOptions{Dir: dir, Key: bytes.Repeat([]byte{1}, KeySize), Now: c.Now, Stall: 10 * time.Second}
	if change != nil {
		change(&opt)
	}
	d, err := OpenDisk(opt)
	must(t, err)
	srv := httptest.NewServer(d)
	t.Cleanup(func() {
		srv.Close()
		must(t, d.Close())
	})
	return backend{Store: d, base: srv.URL, now: c.Now, late: func() { c.Advance(2 * time.Second) }}, d
}

func TestDisk(t *testing.T) {
	testStore(t, func(t *testing.T) backend {
		b, _ := openDisk(t, filepath.Join(t.TempDir(), "blobs"), nil)
		return b
	})
}

// Stored parts survive a restart; incomplete ones do not.
func TestDiskReopen(t *testing.T) {
	dir := t.TempDir()
	b, d := openDisk(t, dir, nil)
	id, _ := b.create(t)
	part := b.put(t, id, "", 1, []byte("kept"))
	must(t, d.root.WriteFile(tmpDir+"/left", []byte("x"), privateFile))
	again, d2 := openDisk(t, dir, nil)
	parts, err := again.Parts(ctxOf(t), id, "")
	must(t, err)
	if len(parts) != 1 || parts[0] != part {
		t.Errorf("%v", parts)
	}
	if _, err := d2.root.Stat(tmpDir + "/left"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	must(t, again.Complete(ctxOf(t), id, "", parts))
	if _, data := again.get(t, id, ""); string(data) != "kept" {
		t.Errorf("%q", data)
	}
	err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 && path != dir {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return err
	})
	must(t, err)
}

// A blob with a damaged index does not exist; a part that has become shorter ends the response early.
func TestDiskDamage(t *testing.T) {
	dir := t.TempDir()
	b, _ := openDisk(t, dir, nil)
	id, _ := b.create(t)
	must(t, b.Complete(ctxOf(t), id, "", []Part{b.put(t, id, "", 1, []byte("content"))}))
	file := filepath.Join(dir, filepath.FromSlash(blobDir(id)), partFile(1))
	must(t, os.Truncate(file, 3))
	u, err := b.GetURL(ctxOf(t), b.ticket(id, time.Minute))
	must(t, err)
	resp, err := http.Get(b.base + u)
	must(t, err)
	if data, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a short part was served as %q", data)
	}
	must(t, resp.Body.Close())
	for _, text := range []string{"", indexHead[:5], indexHead, "SECMSG BLOB 1\n\x00\x00\x00\x07", indexHead + "\x00\x00\x00"} {
		must(t, os.WriteFile(filepath.Join(filepath.Dir(file), indexFile), []byte(text), 0o600))
		if status, data := b.get(t, id, ""); status != http.StatusInternalServerError {
			t.Errorf("index %q: %d %s", text, status, data)
		}
	}
}

// halfPut starts an upload of part 1 with five bytes, and sends two of them.
func (b backend) halfPut(t *testing.T, id [16]byte) net.Conn {
	t.Helper()
	u, err := b.PutURL(ctxOf(t), b.ticket(id, time.Minute), "", 1, 5)
	must(t, err)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.base, "http://"))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	_, err = io.WriteString(conn, "PUT "+u+" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
	must(t, err)
	return conn
}

// A newer put of a part ends an older one that has stalled.
func TestDiskNewerPut(t *testing.T) {
	b, d := openDisk(t, t.TempDir(), func(o *DiskOptions) { o.Stall = time.Minute })
	id, _ := b.create(t)
	conn := b.halfPut(t, id)
	poll.Until(t, "the directory's state", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.puts) == 1
	})
	b.put(t, id, "", 1, []byte("newer"))
	_, err := io.ReadAll(conn) // the server closes it
	must(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.puts) != 0 || len(d.running) != 0 {
		t.Errorf("%v %v", d.puts, d.running)
	}
}

// E1 for parts: each step has a time limit.
func TestDiskStalledTransfers(t *testing.T) {
	// A blob for the second half of the test is uploaded where nothing counts as stalled.
	dir := t.TempDir()
	patient, p := openDisk(t, dir, nil)
	whole, _ := patient.create(t)
	var parts []Part
	for i := range 4 {
		parts = append(parts, patient.put(t, whole, "", i+1, random(wire.MinBlobPart)))
	}
	must(t, patient.Complete(ctxOf(t), whole, "", parts))
	must(t, p.Close())

	b, d := openDisk(t, dir, func(o *DiskOptions) { o.Stall, o.Parallel = 50*time.Millisecond, 2 })
	id, _ := b.create(t)
	conn := b.halfPut(t, id)
	_, err := io.ReadAll(conn)
	must(t, err)
	if left, err := d.root.OpenFile(tmpDir, os.O_RDONLY, 0); err == nil {
		names, err := left.Readdirnames(-1)
		must(t, errors.Join(err, left.Close()))
		if len(names) != 0 {
			t.Errorf("left: %v", names)
		}
	}
	// A client that does not read is disconnected, too.
	get, err := b.GetURL(ctxOf(t), b.ticket(whole, time.Minute))
	must(t, err)
	for range 2 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.base, "http://"))
		must(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET "+get+" HTTP/1.1\r\nHost: x\r\n\r\n")
		must(t, err)
	}
	poll.Until(t, "the directory's state", func() bool { return d.Counters()["gets"] == 2 })
	poll.Until(t, "the directory's state", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.running) == 0
	})
}

// A refusal reaches the client although the transfer took longer than a whole request may. It says that
// the same part may be repeated: a stalled connection does not end an upload.
func TestDiskLateRefusal(t *testing.T) {
	d, err := OpenDisk(DiskOptions{Dir: t.TempDir(), Key: make([]byte, KeySize), Stall: 300 * time.Millisecond})
	must(t, err)
	srv := httptest.NewUnstartedServer(d)
	srv.Config.WriteTimeout = 100 * time.Millisecond
	srv.Start()
	defer func() {
		srv.Close()
		must(t, d.Close())
	}()
	b := backend{Store: d, base: srv.URL, now: time.Now}
	id, _ := b.create(t)
	conn := b.halfPut(t, id)
	answer, err := io.ReadAll(conn)
	must(t, err)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") || !strings.Contains(string(answer), `"unavailable"`) {
		t.Errorf("%q", answer)
	}
}

// A transfer slowed down by the bandwidth limit succeeds, although it takes longer than a whole request
// may, and longer than the time limit of a stalled step.
func TestDiskSlowedTransfers(t *testing.T) {
	d, err := OpenDisk(DiskOptions{Dir: t.TempDir(), Key: make([]byte, KeySize), Stall: 100 * time.Millisecond, Bandwidth: stepSize * 4})
	must(t, err)
	srv := httptest.NewUnstartedServer(d)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	srv.Start()
	defer func() {
		srv.Close()
		must(t, d.Close())
	}()
	b := backend{Store: d, base: srv.URL, now: time.Now}
	id, _ := b.create(t)
	content := random(3 * stepSize)
	must(t, b.Complete(ctxOf(t), id, "", []Part{b.put(t, id, "", 1, content)}))
	if status, data := b.get(t, id, ""); status != http.StatusOK || !bytes.Equal(data, content) {
		t.Errorf("%d, %d bytes of %d", status, len(data), len(content))
	}
}

// An account's simultaneous transfers are bounded; other accounts are not affected.
func TestDiskParallelBound(t *testing.T) {
	b, d := openDisk(t, t.TempDir(), func(o *DiskOptions) { o.Parallel = 2 })
	id, _ := b.create(t)
	must(t, b.Complete(ctxOf(t), id, "", []Part{b.put(t, id, "", 1, []byte("x"))}))
	for range 2 {
		if !d.enter("alice") {
			t.Fatal("refused")
		}
	}
	if status, body := b.get(t, id, ""); status != http.StatusTooManyRequests || !strings.Contains(string(body), "rate_limited") {
		t.Errorf("%d %s", status, body)
	}
	d.leave("alice")
	if status, _ := b.get(t, id, ""); status != http.StatusOK {
		t.Error(status)
	}
}

// The hooks are called only for valid signatures, and a request that they refuse is refused.
func TestDiskHooks(t *testing.T) {
	var heard int
	refusal := &wire.Error{Code: wire.CodeForbidden, Message: "the account is suspended"}
	b, _ := openDisk(t, t.TempDir(), func(o *DiskOptions) {
		o.Authenticated = func(context.Context) { heard++ }
		o.Allowed = func(_ context.Context, account string) error {
			if account != "alice" {
				t.Errorf("asked for %q", account)
			}
			return refusal
		}
	})
	id, _ := b.create(t)
	if status, body := b.get(t, id, ""); status != http.StatusForbidden || !strings.Contains(string(body), "suspended") || heard != 1 {
		t.Errorf("%d %s %d", status, body, heard)
	}
	if status, _, _ := b.do(t, "GET", wire.PathBlobData+FormatID(id), nil, 0, ""); status != http.StatusForbidden || heard != 1 {
		t.Errorf("%d %d", status, heard)
	}
}

// A full disk is reported, leaves nothing incomplete, and transfers resume when there is space.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skipf("no small file system to fill: %v", err)
	}
	defer func() { must(t, unmount(dir)) }()
	d, err := OpenDisk(DiskOptions{Dir: filepath.Join(dir, "blobs"), Key: bytes.Repeat([]byte{1}, KeySize)})
	must(t, err)
	srv := httptest.NewServer(d)
	defer func() {
		srv.Close()
		must(t, d.Close())
	}()
	b := backend{Store: d, base: srv.URL, now: time.Now}
	id, _ := b.create(t)
	one := b.put(t, id, "", 1, random(wire.MinBlobPart))
	u, err := b.PutURL(ctxOf(t), b.ticket(id, time.Minute), "", 2, wire.MinBlobPart)
	must(t, err)
	status, body, _ := b.do(t, "PUT", u, bytes.NewReader(random(wire.MinBlobPart)), wire.MinBlobPart, "")
	if status != http.StatusInsufficientStorage || !strings.Contains(string(body), `"unavailable"`) || !strings.Contains(string(body), "full") {
		t.Errorf("%d %s", status, body)
	}
	parts, err := b.Parts(ctxOf(t), id, "")
	must(t, err)
	if len(parts) != 1 || parts[0] != one {
		t.Errorf("%v", parts)
	}
	filler := filepath.Join(dir, "filler")
	must(t, fill(filler))
	want(t, "ping", d.Ping(ctxOf(t)), ErrFull)
	must(t, os.Remove(filler))
	must(t, d.Ping(ctxOf(t)))
	two := b.put(t, id, "", 2, []byte("fits"))
	must(t, b.Complete(ctxOf(t), id, "", []Part{one, two}))
}

// fill writes until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(indexHead))
	f.Add(binary.BigEndian.AppendUint32([]byte(indexHead), 1<<31))
	f.Add([]byte("x"))
	d, err := OpenDisk(DiskOptions{Dir: f.TempDir(), Key: make([]byte, KeySize)})
	if err != nil {
		f.Fatal(err)
	}
	id := NewID()
	if _, err := d.Create(f.Context(), id); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		must(t, d.root.WriteFile(blobDir(id)+"/"+indexFile, data, privateFile))
		sizes, err := d.index(id)
		if err == nil && len(sizes) > len(data)/4 {
			t.Errorf("%d sizes of %d bytes", len(sizes), len(data))
		}
	})
}

func FuzzTicket(f *testing.F) {
	d, err := OpenDisk(DiskOptions{Dir: f.TempDir(), Key: make([]byte, KeySize)})
	if err != nil {
		f.Fatal(err)
	}
	id := NewID()
	good, err := d.PutURL(f.Context(), Ticket{ID: id, Account: "alice", Expires: time.Unix(1<<33, 0)}, "", 1, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("PUT", FormatID(id), strings.SplitN(good, "?", 2)[1])
	f.Add("GET", "..", "for=a&exp=1&sig=")
	f.Fuzz(func(t *testing.T, method, name, query string) {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Method, req.URL.Path, req.URL.RawQuery = method, wire.PathBlobData+name, query
		rec := httptest.NewRecorder()
		d.ServeHTTP(rec, req)
		if rec.Code < 400 {
			t.Errorf("%s %q %q: %d", method, name, query, rec.Code)
		}
	})
}
