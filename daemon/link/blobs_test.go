package link

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd"
)

// realServer is a server in this process.
type realServer struct {
	t      testing.TB
	server string
	invite identity.Invite
}

func startServer(t testing.TB, change func(*config.Server)) *realServer {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "srv")
	made, err := serverd.Init(t.Context(), serverd.InitOptions{Dir: dir, Domain: testDomain, Address: "127.0.0.1:8443", Now: time.Now()})
	fail(err)
	inv, err := identity.ParseInvite(made.Invite)
	fail(err)
	cfg, err := config.LoadServer(dir, "", map[string]any{"listen": "127.0.0.1:0"})
	fail(err)
	cfg.Limits.Registration = config.Rate{Burst: 1000, Every: time.Millisecond}
	cfg.Limits.Connections = config.ConnLimits{PerAddress: 1000, Total: 1000, New: config.Rate{Burst: 1000, Every: time.Millisecond}}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := serverd.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &realServer{t: t, server: srv.Addr().String(), invite: inv}
}

// realDevice signs for one device.
type realDevice struct {
	addr   identity.Address
	device key.SigningPrivate
	id     key.DeviceID
}

// SignChallenge implements Signer.
func (d *realDevice) SignChallenge(role wire.Role, nonce []byte) ([]byte, error) {
	return identity.Challenge{Address: d.addr, Device: d.id, Role: string(role), Nonce: nonce}.Sign(d.device)
}

// join registers the account of the server's only invite.
func (s *realServer) join(name string) *Client {
	s.t.Helper()
	fail := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	d := &realDevice{addr: identity.Address{User: name, Domain: testDomain}, device: key.GenerateSigning()}
	account, exchange := key.GenerateSigning(), key.GenerateExchange().Public()
	d.id = key.NewDeviceID(d.device.Public(), exchange)
	manifest, err := identity.Manifest{Address: d.addr, Version: 1, Time: time.Now(), Devices: []identity.Device{
		{ID: d.id, Signing: d.device.Public(), Exchange: exchange, Name: "laptop", Added: time.Now()},
	}}.Sign(account)
	fail(err)
	csr, err := identity.NewAccountCSR(account, d.addr)
	fail(err)
	proof, err := identity.Registration{Address: d.addr, Identity: account.Public(), Exchange: exchange}.Sign(d.device)
	fail(err)
	e := Endpoint{Server: s.server, Realm: s.invite.Fingerprint, Domain: testDomain, Timing: Timing{Request: 10 * time.Second}}
	_, err = Register(s.t.Context(), e, wire.Register{Token: s.invite.Token.Bytes(), Name: name, CSR: csr, Manifest: manifest, Proof: proof})
	fail(err)
	c := NewClient(e, name, d.id, d)
	s.t.Cleanup(c.Close)
	return c
}

// TestBlobsWithServer uploads and downloads through a real server, and checks the kind of
// each refusal.
func TestBlobsWithServer(t *testing.T) {
	c := startServer(t, func(s *config.Server) { s.Limits.Blobs.Quota = 30 << 20 }).join("alice")
	ctx := t.Context()
	b, err := c.CreateBlob(ctx, wire.CreateBlob{Readers: []string{"bob"}})
	check(t, err)
	content := make([]byte, wire.MinBlobPart+1000)
	rand.Read(content)
	parts := []wire.BlobPart{{Number: 1, Size: wire.MinBlobPart}, {Number: 2, Size: 1000}}
	tickets, err := c.BlobTickets(ctx, b.ID, parts)
	check(t, err)
	for i := range parts {
		r := io.NewSectionReader(bytes.NewReader(content), int64(i)*wire.MinBlobPart, parts[i].Size)
		parts[i].ETag, err = c.PutPart(ctx, tickets[i], parts[i].Size, r)
		check(t, err)
	}
	state, err := c.GetBlob(ctx, b.ID)
	check(t, err)
	if fmt.Sprint(state.Parts) != fmt.Sprint(parts) || state.Complete {
		t.Fatalf("%+v", state)
	}
	done, err := c.CompleteBlob(ctx, b.ID, parts)
	check(t, err)
	if !done.Complete || done.Size != int64(len(content)) {
		t.Fatalf("%+v", done)
	}
	if _, err := c.PutPart(ctx, tickets[1], 1000, bytes.NewReader(content)); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("put after the end: %v", err)
	}
	down, err := c.DownloadBlob(ctx, b.ID)
	check(t, err)
	got := make([]byte, len(content))
	check(t, whole(c.GetRange(ctx, down.Ticket, 0, got[:1])))
	check(t, whole(c.GetRange(ctx, down.Ticket, 1, got[1:])))
	if !bytes.Equal(got, content) {
		t.Fatal("differs")
	}
	if _, err := c.GetRange(ctx, down.Ticket, 10, got); !wrongSize(err) {
		t.Errorf("behind the end: %v", err)
	}
	bad := down.Ticket
	bad.URL += "A"
	if _, err := c.GetRange(ctx, bad, 0, got); !errors.Is(err, ErrTicket) || KindOf(err) == KindUnreachable {
		t.Errorf("bad ticket: %v", err)
	}
	bad = tickets[0]
	bad.URL = strings.Replace(bad.URL, "sig=", "sig=A", 1)
	if _, err := c.PutPart(ctx, bad, wire.MinBlobPart, bytes.NewReader(content)); !errors.Is(err, ErrTicket) {
		t.Errorf("bad ticket: %v", err)
	}
	if _, err := c.CreateBlob(ctx, wire.CreateBlob{Readers: []string{}, Size: 30 << 20}); KindOf(err) != KindQuota {
		t.Errorf("quota: %v", err)
	}
	if _, err := c.CreateBlob(ctx, wire.CreateBlob{Readers: []string{}, Size: 3 << 30}); wire.CodeOf(err) != wire.CodeTooLarge {
		t.Errorf("size: %v", err)
	}
	check(t, c.DeleteBlob(ctx, b.ID))
	check(t, c.DeleteBlob(ctx, b.ID))
	for _, id := range []string{b.ID, "..", "a/b", "", "%2e%2e", strings.Repeat("a", 200)} {
		if _, err := c.DownloadBlob(ctx, id); KindOf(err) != KindNotFound {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := waitGone(ctx, c, down.Ticket); err != nil {
		t.Error(err)
	}
}

// whole drops the count: without an error everything has arrived.
func whole(_ int, err error) error { return err }

// TestRangeThatBreaksOff: the bytes received before a broken connection are reported and
// correct, and the rest can be fetched after them.
func TestRangeThatBreaksOff(t *testing.T) {
	c := startServer(t, nil).join("alice")
	content := make([]byte, 1<<20)
	rand.Read(content)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, last, _, ok := contentRange(strings.Replace(r.Header.Get("Range"), "bytes=", "bytes ", 1) + "/*")
		if !ok {
			t.Errorf("asked for %q", r.Header.Get("Range"))
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content)))
		w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
		w.WriteHeader(http.StatusPartialContent)
		half := (last - first + 2) / 2
		_, _ = w.Write(content[first : first+half])
		if first+half <= last {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	defer store.Close()
	ticket := wire.BlobTicket{URL: store.URL + "/key", Size: int64(len(content))}
	got, at := make([]byte, len(content)), 0
	for rounds := 0; at < len(got); rounds++ {
		n, err := c.GetRange(t.Context(), ticket, int64(at), got[at:])
		if want := (len(got) - at + 1) / 2; n != want || (err == nil) != (at+n == len(got)) || err != nil && !errors.Is(err, ErrUnreachable) {
			t.Fatalf("at %d: %d came (%v), not %d", at, n, err, want)
		}
		at += n
		if rounds > 30 {
			t.Fatal("it does not end")
		}
	}
	if !bytes.Equal(got, content) {
		t.Error("differs")
	}
}

// waitGone waits until the sweeper has deleted a ticket's target.
func waitGone(ctx context.Context, c *Client, ticket wire.BlobTicket) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if _, err = c.GetRange(ctx, ticket, 0, make([]byte, 1)); KindOf(err) == KindNotFound {
			return nil
		}
	}
	return fmt.Errorf("still there: %w", err)
}

// errSize stands for every error that wrongSize takes.
var errSize = errors.New("the blob is not as long")

// wrongSize reports whether err is final: neither a retry nor a new ticket helps.
func wrongSize(err error) bool {
	return err != nil && !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrTicket)
}

// A store elsewhere gets no token, its redirects are not followed, and its errors are
// checked.
func TestStoreElsewhere(t *testing.T) {
	r := newRealm(t)
	f := newFake(t, r)
	o := f.options(nil)
	c := NewClient(o.Endpoint, o.Account, o.Device, o.Signer)
	defer c.Close()
	c.timing.Request = 300 * time.Millisecond
	var answer http.HandlerFunc
	var mu sync.Mutex
	var seen []*http.Request
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r)
		f := answer
		mu.Unlock()
		f(w, r)
	}))
	release := make(chan struct{})
	defer store.Close()
	defer close(release)
	ticket := wire.BlobTicket{Number: 1, URL: store.URL + "/key?X-Amz-Signature=x"}
	body := bytes.Repeat([]byte("x"), 200<<10)
	put := func() error {
		_, err := c.PutPart(t.Context(), ticket, int64(len(body)), bytes.NewReader(body))
		return err
	}
	get := func() error { return whole(c.GetRange(t.Context(), ticket, 3, make([]byte, 4))) }
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "part")
		}
	}
	for _, c := range []struct {
		name     string
		answer   http.HandlerFunc
		put, get error // nil: success
		kind     Kind  // compared instead of an error
	}{
		{"put", status(200, "ETag", `"abc"`), nil, ErrProtocol, ""},
		{"no tag", status(200), ErrProtocol, ErrProtocol, ""},
		{"range", status(206, "Content-Range", "bytes 3-6/10"), ErrProtocol, nil, ""},
		{"another range", status(206, "Content-Range", "bytes 0-3/10"), ErrProtocol, ErrProtocol, ""},
		{"no range", status(206), ErrProtocol, ErrProtocol, ""},
		{"expired", status(403), ErrTicket, ErrTicket, ""},
		{"gone", status(404), nil, nil, KindNotFound},
		{"busy", status(503), ErrUnreachable, ErrUnreachable, ""},
		{"slow down", status(429), ErrUnreachable, ErrUnreachable, ""},
		{"redirect", status(307, "Location", "http://169.254.169.254/"), ErrProtocol, ErrProtocol, ""},
		{"behind the end", status(416), ErrProtocol, errSize, ""},
		{"cut", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, ErrUnreachable, ErrUnreachable, ""},
		{"still", func(http.ResponseWriter, *http.Request) { <-release }, ErrUnreachable, ErrUnreachable, ""},
	} {
		mu.Lock()
		answer = c.answer
		mu.Unlock()
		for op, try := range map[string]struct {
			f    func() error
			want error
		}{"put": {put, c.put}, "get": {get, c.get}} {
			err := try.f()
			switch {
			case c.kind != "":
				if KindOf(err) != c.kind {
					t.Errorf("%s, %s: %v", c.name, op, err)
				}
			case try.want == errSize:
				if !wrongSize(err) {
					t.Errorf("%s, %s: %v", c.name, op, err)
				}
			case !errors.Is(err, try.want):
				t.Errorf("%s, %s: %v", c.name, op, err)
			}
			if err != nil && strings.Contains(err.Error(), "Signature") {
				t.Errorf("%s, %s: the URL stands in %v", c.name, op, err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, r := range seen {
		for _, h := range []string{"Authorization", "Cookie", "User-Agent", "Referer", protocolHeader} {
			if r.Header.Get(h) != "" {
				t.Errorf("%s %s: header %s", r.Method, r.URL.Path, h)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.paths) != 0 {
		t.Errorf("the server was asked: %v", f.paths)
	}
}

// The server decides where parts go, but it cannot direct this client to arbitrary
// addresses.
func TestTicketURLs(t *testing.T) {
	far := NewClient(Endpoint{Server: "chat.example.com"}, "", key.DeviceID{}, nil)
	near := NewClient(Endpoint{Server: "127.0.0.1:8443"}, "", key.DeviceID{}, nil)
	for text, c := range map[string]struct{ far, near bool }{
		"https://s3.example.com/bucket/key?x=1": {true, true}, "http://s3.example.com/key": {}, "http://127.0.0.1:9000/key": {false, true},
		"http://localhost:9000/key": {false, true}, "http://[::1]:9000/key": {false, true}, "http://10.0.0.1/key": {}, "file:///etc/passwd": {}, "": {}, "/": {},
		"/v1/accounts/bob": {}, "//s3.example.com/key": {}, "ftp://s3.example.com/": {}, "https://user:pass@s3.example.com/": {},
		"https://s3.example.com/#x": {}, "https://": {}, "https://" + strings.Repeat("a", maxTicketURL): {}, "unix:/run/docker.sock": {},
	} {
		for who, try := range map[*Client]bool{far: c.far, near: c.near} {
			_, own, err := who.ticketURL(text)
			if own || (err == nil) != try {
				t.Errorf("%q from %s: %v", text, who.base, err)
			}
		}
	}
	if target, own, err := far.ticketURL("/v1/blobdata/00?x=1"); err != nil || !own || target != "https://chat.example.com:8443/v1/blobdata/00?x=1" {
		t.Error(target, own, err)
	}
}

// A slow line is not an error as long as there is progress.
func TestSlowTransfer(t *testing.T) {
	f := newFake(t, newRealm(t))
	o := f.options(nil)
	c := NewClient(o.Endpoint, o.Account, o.Device, o.Signer)
	defer c.Close()
	c.timing.Request = 300 * time.Millisecond
	const steps = 6
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", steps*dataStep-1, steps*dataStep))
		w.WriteHeader(206)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for range steps {
			<-tick.C
			if _, err := w.Write(make([]byte, dataStep)); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
		}
	}))
	defer store.Close()
	check(t, whole(c.GetRange(t.Context(), wire.BlobTicket{URL: store.URL + "/key"}, 0, make([]byte, steps*dataStep))))
}

// After PutPart has returned, its content belongs to the caller again, whatever the
// transport still does.
func TestContentIsNotReadAfterReturn(t *testing.T) {
	f := newFake(t, newRealm(t))
	o := f.options(nil)
	c := NewClient(o.Endpoint, o.Account, o.Device, o.Signer)
	defer c.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") // before reading anything
			defer conn.Close()
		}
	}()
	content := make([]byte, 8<<20)
	for range 5 {
		_, err := c.PutPart(t.Context(), wire.BlobTicket{URL: "http://" + l.Addr().String() + "/key"}, int64(len(content)), bytes.NewReader(content))
		if err == nil {
			t.Fatal("refused, and taken")
		}
		clear(content) // the race detector would report a reader
	}
}

// Four concurrent uploads and downloads reuse their connections: each new one costs a
// handshake and a proof of the realm.
func TestConnectionsAreUsedAgain(t *testing.T) {
	c := startServer(t, nil).join("alice")
	dials := &atomic.Int64{}
	e := c.endpoint
	e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	c = NewClient(e, c.account, *c.device.Load(), c.signer)
	defer c.Close()
	const lanes, rounds = 4, 10
	round := func(ctx context.Context) error {
		b, err := c.CreateBlob(ctx, wire.CreateBlob{Readers: []string{}})
		if err != nil {
			return err
		}
		part := wire.BlobPart{Number: 1, Size: 1000}
		tickets, err := c.BlobTickets(ctx, b.ID, []wire.BlobPart{part})
		if err != nil {
			return err
		}
		if part.ETag, err = c.PutPart(ctx, tickets[0], part.Size, bytes.NewReader(make([]byte, part.Size))); err != nil {
			return err
		}
		if _, err := c.CompleteBlob(ctx, b.ID, []wire.BlobPart{part}); err != nil {
			return err
		}
		down, err := c.DownloadBlob(ctx, b.ID)
		if err != nil {
			return err
		}
		return whole(c.GetRange(ctx, down.Ticket, 0, make([]byte, part.Size)))
	}
	var wg sync.WaitGroup
	for range lanes {
		wg.Go(func() {
			for range rounds {
				if err := round(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// One for each lane and kind. The transport may open an unneeded one while a lane waits
	// for another's.
	if n := dials.Load(); n > 4*lanes {
		t.Errorf("%d connections for %d requests of %d lanes", n, 6*lanes*rounds, lanes)
	}
}

// BenchmarkParts transfers parts of 8 MiB through a real server, four at a time, with TLS
// and fsync. The figures include both ends.
func BenchmarkParts(b *testing.B) {
	c := startServer(b, func(s *config.Server) { s.Limits.Blobs.Quota, s.Limits.Blobs.Size = 1<<40, 1<<40 }).join("alice")
	const size, lanes = 8 << 20, 4
	content := make([]byte, size)
	rand.Read(content)
	fail := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	each := func(n int, f func(i int)) {
		var wg sync.WaitGroup
		next := make(chan int, n)
		for i := range n {
			next <- i
		}
		close(next)
		for range lanes {
			wg.Go(func() {
				for i := range next {
					f(i)
				}
			})
		}
		wg.Wait()
	}
	upload := func(n int) (string, []wire.BlobPart) {
		made, err := c.CreateBlob(b.Context(), wire.CreateBlob{Readers: []string{}})
		fail(err)
		parts := make([]wire.BlobPart, n)
		each(n, func(i int) {
			part := wire.BlobPart{Number: i + 1, Size: size}
			tickets, err := c.BlobTickets(b.Context(), made.ID, []wire.BlobPart{part})
			fail(err)
			part.ETag, err = c.PutPart(b.Context(), tickets[0], size, bytes.NewReader(content))
			fail(err)
			parts[i] = part
		})
		return made.ID, parts
	}
	b.Run("put", func(b *testing.B) {
		b.SetBytes(size)
		id, _ := upload(b.N)
		b.StopTimer()
		fail(c.DeleteBlob(b.Context(), id))
	})
	b.Run("get", func(b *testing.B) {
		const parts = 16
		id, list := upload(parts)
		_, err := c.CompleteBlob(b.Context(), id, list)
		fail(err)
		down, err := c.DownloadBlob(b.Context(), id)
		fail(err)
		buffers := make(chan []byte, lanes)
		for range lanes {
			buffers <- make([]byte, size)
		}
		b.SetBytes(size)
		b.ResetTimer()
		each(b.N, func(i int) {
			buf := <-buffers
			fail(whole(c.GetRange(b.Context(), down.Ticket, int64(i%parts)*size, buf)))
			buffers <- buf
		})
	})
	b.Run("connect", func(b *testing.B) {
		for range b.N {
			conn, _, err := c.endpoint.dial(b.Context())
			fail(err)
			_ = conn.Close()
		}
	})
}
