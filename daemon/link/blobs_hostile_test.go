package link

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/wire"
)

// A store that lies or stalls costs bounded time and memory, and cannot make an incomplete
// part look stored.
func TestHostileStore(t *testing.T) {
	f := newFake(t, newRealm(t))
	o := f.options(nil)
	const size = 3 * dataStep
	good := "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-196607/196608\r\n"
	text := func(s string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, s) }
	}
	endless := func(head, more string) func(net.Conn) {
		return func(c net.Conn) {
			_, err := io.WriteString(c, head)
			for err == nil {
				_, err = io.WriteString(c, more)
			}
		}
	}
	drip := func(head, more string) func(net.Conn) {
		return func(c net.Conn) {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			_, err := io.WriteString(c, head)
			for i := 0; err == nil; i++ {
				<-tick.C
				_, err = io.WriteString(c, more[i%len(more):i%len(more)+1])
			}
		}
	}
	body := strings.Repeat("x", size)
	for _, c := range []struct {
		name     string
		answer   func(net.Conn)
		get, put error // nil: any error
	}{
		{"a header without end", endless("HTTP/1.1 206 OK\r\nX: ", strings.Repeat("a", 4096)), ErrUnreachable, ErrUnreachable},
		{"headers without end", endless("HTTP/1.1 206 OK\r\n", strings.Repeat("X: a\r\n", 1000)), ErrUnreachable, ErrUnreachable},
		{"patience without end", endless("", strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: a\r\n\r\n", 100)), ErrUnreachable, ErrUnreachable},
		{"a header in drops", drip("HTTP/1.1 206 OK\r\nX: ", "a"), ErrUnreachable, ErrUnreachable},
		{"patience in drops", drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"), ErrUnreachable, ErrUnreachable},
		{"a body in drops", drip(good+"Content-Length: 196608\r\n\r\n", "x"), ErrUnreachable, nil},
		{"a body without end", endless(good+"Transfer-Encoding: chunked\r\n\r\n", "1000\r\n"+strings.Repeat("x", 4096)+"\r\n"), ErrProtocol, nil},
		{"a length beyond all", text(good + "Content-Length: 9223372036854775807\r\n\r\n" + body + "y"), ErrProtocol, nil},
		{"two lengths", text(good + "Content-Length: 196608\r\nContent-Length: 5\r\n\r\n" + body), ErrUnreachable, ErrUnreachable},
		{"a short body", text(good + "Content-Length: 100\r\n\r\n" + body), ErrUnreachable, nil},
		{"a body that is cut", text(good + "Content-Length: 196608\r\n\r\n" + body[1:]), ErrUnreachable, nil},
		{"a range that overflows", text("HTTP/1.1 206 OK\r\nContent-Range: bytes 0-99999999999999999999/5\r\nContent-Length: 196608\r\n\r\n" + body), ErrProtocol, nil},
		{"a range of another blob", text(strings.Replace(good, "/196608", "/196609", 1) + "Content-Length: 196608\r\n\r\n" + body), errSize, nil},
		{"no HTTP", text("SSH-2.0-store\r\n\r\n"), ErrUnreachable, ErrUnreachable},
		{"nothing", text(""), ErrUnreachable, ErrUnreachable},
		{"a tag without end", text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"" + strings.Repeat("a", maxETag+1) + "\"\r\n\r\n"), ErrProtocol, ErrProtocol},
		{"an answer in drops", drip("HTTP/1.1 500 No\r\nContent-Length: 9000\r\n\r\n", "x"), ErrUnreachable, ErrUnreachable},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		var conns sync.WaitGroup
		conns.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conns.Go(func() {
					defer conn.Close()
					in := bufio.NewReader(conn)
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					c.answer(conn)
				})
			}
		})
		client := NewClient(o.Endpoint, o.Account, o.Device, o.Signer)
		client.timing.Request = 200 * time.Millisecond
		if c.get != ErrUnreachable { // otherwise the answer decides, however slow the machine is
			client.timing.Request = 10 * time.Second
		}
		ticket := wire.BlobTicket{Number: 1, URL: "http://" + l.Addr().String() + "/key", Size: size}
		start := time.Now()
		_, err = client.GetRange(t.Context(), ticket, 0, make([]byte, size))
		if err == nil || c.get == errSize && !wrongSize(err) || c.get != errSize && !errors.Is(err, c.get) {
			t.Errorf("get, %s: %v", c.name, err)
		}
		if _, err := client.PutPart(t.Context(), ticket, size, bytes.NewReader(make([]byte, size))); err == nil || c.put != nil && !errors.Is(err, c.put) {
			t.Errorf("put, %s: %v", c.name, err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: took %s", c.name, took)
		}
		client.Close()
		check(t, l.Close())
		conns.Wait()
	}
}
