package relay

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
)

// tlsWorld is a world behind TLS, like the server's own listener.
func tlsWorld(t *testing.T, change func(*Options)) *world {
	w := newWorld(t, change)
	plain := w.http
	w.http = httptest.NewUnstartedServer(w.relay.Handler())
	w.http.Listener = Listener(w.http.Listener)
	w.http.StartTLS()
	plain.Close()
	return w
}

// readers returns the stacks of goroutines that serve connections.
func readers() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for s := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(s, "secmsg/serverd/relay.(*socket)") || strings.Contains(s, "secmsg/serverd/relay.elsewhere") {
			out = append(out, s)
		}
	}
	return out
}

// TestIdleConnectionIsOneShallowGoroutine: an idle connection has only its reader, which waits without
// gorilla or crypto/tls on its stack, also after it has handled frames and pings.
func TestIdleConnectionIsOneShallowGoroutine(t *testing.T) {
	for name, open := range map[string]func(*testing.T, func(*Options)) *world{
		"TLS": tlsWorld, "plain": func(t *testing.T, change func(*Options)) *world { return newWorld(t, change) },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, nil)
			w.mutual("alice", "bob")
			alice, bob := w.account("alice"), w.account("bob")
			ac, ar := w.online(alice)
			_, br := w.online(bob)
			idle := func(what string) {
				t.Helper()
				var stacks []string
				poll.Until(t, what+": one goroutine for each connection, and it waits", func() bool {
					stacks = readers()
					return len(stacks) == 4 && !slices.ContainsFunc(stacks, func(s string) bool { return !strings.Contains(s, "(*socket).await") })
				})
				for _, s := range stacks {
					if strings.Contains(s, "crypto/tls.") || strings.Contains(s, "gorilla/websocket.") {
						t.Fatalf("%s: waits deep in\n%s", what, s)
					}
				}
			}
			idle("opened")
			ac.send(ac.envelope(bob, 1, "x"))
			equal(t, "text", br.texts(1), "x")
			br.ack(1)
			equal(t, "result", ac.answer(1), "accepted")
			idle("after an envelope")
			pong := make(chan string, 1)
			ar.ws.SetPongHandler(func(data string) error { pong <- data; return nil })
			must(t, ar.ws.WriteControl(websocket.PongMessage, nil, time.Time{}))
			must(t, ar.ws.WriteControl(websocket.PingMessage, []byte("echo"), time.Time{}))
			go func() { _, _, _ = ar.ws.ReadMessage() }()
			equal(t, "pong", <-pong, "echo")
			idle("after control frames")
			must(t, ar.ws.Close())
		})
	}
}

// TestQuietReading: frames arrive complete, in whatever records and packets they are sent, with control
// frames in between.
func TestQuietReading(t *testing.T) {
	for name, open := range map[string]func(*testing.T, func(*Options)) *world{
		"TLS": tlsWorld, "plain": func(t *testing.T, change func(*Options)) *world { return newWorld(t, change) },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, nil)
			w.mutual("alice", "bob")
			alice, bob := w.account("alice"), w.account("bob")
			_, br := w.online(bob)
			ac := w.contact(alice)
			raw := ac.ws.NetConn()
			var want []string
			for i, size := range []int{1, 100, readBuffer, stageSize - 100, stageSize, 5000, 60_000} {
				text := strings.Repeat(string(rune('a'+i)), size)
				want = append(want, text)
				frame := maskedFrame(t, ac, ac.envelope(bob, byte(i+1), text))
				ping := append([]byte{0x89, 0x80 | 3, 1, 2, 3, 4}, 'a'^1, 'b'^2, 'c'^3)
				pong := []byte{0x8a, 0x80, 0, 0, 0, 0}
				all := slices.Concat(pong, ping, frame, pong)
				step := max(1, len(all)/(7+i)) // cuts through headers, too
				for part := range slices.Chunk(all, step) {
					_, err := raw.Write(part)
					must(t, err)
				}
			}
			for i, e := range br.receive(len(want)) {
				equal(t, "text", string(e.GetCiphertext()), want[i])
			}
			br.ack(uint64(len(want)))
			for i := range uint64(len(want)) {
				equal(t, "result", ac.answer(i+1), "accepted")
			}
		})
	}
}

// maskedFrame is one binary frame of a client with a Send.
func maskedFrame(t *testing.T, c *client, out *wire.Outgoing) []byte {
	t.Helper()
	c.d.steps++
	b, err := wire.Marshal(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Envelopes: []*wire.Outgoing{out}, Steps: c.d.steps}}})
	must(t, err)
	var head []byte
	switch {
	case len(b) < 126:
		head = []byte{0x82, 0x80 | byte(len(b))}
	case len(b) < 1<<16:
		head = []byte{0x82, 0x80 | 126, byte(len(b) >> 8), byte(len(b))}
	}
	mask := []byte{9, 8, 7, 6}
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= mask[i%4]
	}
	return slices.Concat(head, mask, b)
}

// TestControlFramesThatAreWrong: violations of RFC 6455 end the connection.
func TestControlFramesThatAreWrong(t *testing.T) {
	for name, frame := range map[string][]byte{
		"no mask":     {0x89, 0},
		"fragmented":  {0x09, 0x80, 0, 0, 0, 0},
		"reserved":    {0xc9, 0x80, 0, 0, 0, 0},
		"too long":    {0x8a, 0xfe, 0, 200, 0, 0, 0, 0},
		"no such one": {0x8b, 0x80, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.contact(w.account("alice"))
			_, err := c.ws.NetConn().Write(frame)
			must(t, err)
			must(t, c.ws.SetReadDeadline(time.Now().Add(patience)))
			_, _, err = c.ws.ReadMessage()
			if !websocket.IsCloseError(err, websocket.CloseProtocolError) {
				t.Fatalf("ended with %v", err)
			}
		})
	}
}

// TestTLSReadsOnAfterErrWait checks the only assumption about crypto/tls.
func TestTLSReadsOnAfterErrWait(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		q, ok := c.(*tls.Conn).NetConn().(*quietConn)
		if !ok {
			t.Error("no quietConn under TLS")
			return
		}
		for range 3 {
			q.poll = true
			if _, err := c.Read(make([]byte, 1)); err != (errWait{}) {
				t.Errorf("read: %v", err)
			}
			q.poll = false
		}
		_, _ = brw.WriteString("go")
		_ = brw.Flush()
		if err := q.wait(); err != nil {
			t.Errorf("wait: %v", err)
		}
		b := make([]byte, 4)
		if n, err := c.Read(b); err != nil || string(b[:n]) != "data" {
			t.Errorf("read %q: %v", b[:n], err)
		}
	}))
	srv.Listener = Listener(srv.Listener)
	srv.StartTLS()
	defer srv.Close()
	c, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
	must(t, err)
	defer func() { _ = c.Close() }()
	_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
	must(t, err)
	b := make([]byte, 2)
	_, err = c.Read(b)
	must(t, err)
	_, err = c.Write([]byte("data"))
	must(t, err)
	if _, err := c.Read(b); err == nil {
		t.Error("not closed")
	}
}
