//go:build linux

package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/scripts/lab"
)

// full reports whether hostile clients run at full size.
func full() bool { return os.Getenv("SECMSG_HOSTILE") == "full" }

// sized returns the small or the full size.
func sized(small, large int) int {
	if full() {
		return large
	}
	return small
}

const (
	// promptly is how soon a new client should get its answer, whatever others do; the tests print the
	// measured time.
	promptly = time.Second
	// atLast is the time at which a test fails, on a machine that is busy otherwise. It is less than
	// headerTime, so that waiting for an attacker's turn is detected.
	atLast = 15 * time.Second
	// perAddress is how many strangers of one address are allowed in these tests, as by default.
	perAddress = 50
	// headerTime is how long a client may take in these tests for the header of its request.
	headerTime = 20 * time.Second
	// idle is how many connections of the two daemons may wait for their next request.
	idle = 4
	// memorySlack is how much resident memory may stay above its earlier value: the Go runtime returns
	// it late.
	memorySlack = 24 << 20
)

// realLimits are the default limits of connections.
func realLimits() []string {
	return []string{fmt.Sprintf("SECMSG_LIMITS_CONNECTIONS_PER_ADDRESS=%d", perAddress), "SECMSG_LIMITS_CONNECTIONS_TOTAL=20000",
		"SECMSG_LIMITS_CONNECTIONS_NEW_BURST=1000", "SECMSG_LIMITS_HEADER=" + headerTime.String()}
}

// hostileDial connects from a different address for each group of attackers.
func hostileDial(ctx context.Context, n int, addr string) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(n/perAddress/200), byte(2+n/perAddress%200))}
	d := net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}
	return d.DialContext(ctx, "tcp", addr)
}

func hostileTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// served requires that new clients get an answer, and prints how soon.
func (r *rig) served(when string) {
	r.t.Helper()
	const clients = 10
	var slowest time.Duration
	for range clients {
		tr := &http.Transport{TLSClientConfig: hostileTLS(), DisableKeepAlives: true}
		c := &http.Client{Transport: tr, Timeout: settleTime}
		start := time.Now()
		resp, err := c.Get("https://" + r.w.Listen() + "/healthz")
		took := time.Since(start)
		tr.CloseIdleConnections()
		if err != nil {
			r.t.Errorf("%s: %v", when, err)
			continue
		}
		_ = resp.Body.Close()
		slowest = max(slowest, took)
		if resp.StatusCode != http.StatusOK || took > atLast {
			r.t.Errorf("%s: %s after %s", when, resp.Status, took)
		}
	}
	r.t.Logf("%s: the slowest of %d new clients had its answer after %s; it should be %s", when, clients, slowest, promptly)
}

// Attack E1, slowloris: connections that never finish TLS, an HTTPS request or the WebSocket handshake.
// New clients can connect meanwhile, existing ones continue, and the slow ones are closed in time.
func TestHostileSlowloris(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{serverEnv: realLimits()})
	r.connected("alice", "bob")
	starts := []string{
		"\x16\x03\x01", // of a TLS record
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
		"GET /v1/contact HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ",
		"POST /v1/accounts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n",
	}
	n, every := sized(200, 2000), sized(1, 10)
	before := r.stats().Counters["connections"]
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range n {
		c, err := hostileDial(t.Context(), i, r.w.Listen())
		r.check(err)
		if begin := starts[i%len(starts)]; begin[0] != 0x16 {
			c = tls.Client(c, hostileTLS())
			_, err = c.Write([]byte(begin))
			r.check(err)
		} else {
			_, err = c.Write([]byte(begin))
			r.check(err)
		}
		conns = append(conns, c)
	}
	dripping, stop := context.WithCancel(t.Context())
	var drip sync.WaitGroup
	drip.Go(func() {
		tick := time.NewTicker(time.Duration(every) * time.Second)
		defer tick.Stop()
		for {
			for _, c := range conns {
				_ = c.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = c.Write([]byte("a")) // until it is closed
			}
			select {
			case <-tick.C:
			case <-dripping.Done():
				return
			}
		}
	})
	// How many are still open depends on how long opening them took, because the server closes each
	// after its time. None may have been refused.
	after := r.stats().Counters["connections"]
	t.Logf("%d of %d slow connections are still open", after["without_token"], n)
	if taken, refused := after["accepted"]-before["accepted"], after["refused"]-before["refused"]; taken < int64(n) || refused != 0 {
		t.Errorf("%d slow connections were accepted and %d refused, want %d and none", taken, refused, n)
	}
	r.served(fmt.Sprintf("beside %d slow connections", n))
	start := time.Now()
	r.check(r.w.Join(t.Context(), "carol"))
	t.Logf("invite and join beside %d slow connections: %s", n, time.Since(start))
	r.send("alice", "bob", "meanwhile", "--wait", "delivered", "--timeout", patience)
	r.eventually("the slow ones are closed", func() bool { return r.stats().Counters["connections"]["without_token"] < int64(n/10) })
	stop()
	drip.Wait()
	r.settle()
	r.noPanic()
}

// Attack E5: connections that open and close without a token, plain and after a TLS handshake, more at
// once than one address may have. Memory, descriptors and counters return to their earlier values.
func TestHostileConnectAndClose(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{serverEnv: append(realLimits(), "SECMSG_LIMITS_CONNECTIONS_NEW_BURST=1000000")})
	r.connected("alice", "bob")
	pid := r.w.Server().PID()
	flood := func(n int) {
		var wg sync.WaitGroup
		var failed atomic.Int64
		for worker := range 16 {
			wg.Go(func() {
				for i := worker; i < n; i += 16 {
					c, err := hostileDial(t.Context(), worker*perAddress, r.w.Listen())
					if err != nil {
						failed.Add(1)
						continue
					}
					if i%10 == worker%10 {
						s := tls.Client(c, hostileTLS())
						_ = s.SetDeadline(time.Now().Add(10 * time.Second))
						_ = s.Handshake() // it may be refused
					}
					_ = c.Close()
				}
			})
		}
		wg.Wait()
		if f := failed.Load(); f > int64(n/10) {
			t.Errorf("%d of %d connections failed", f, n)
		}
	}
	quiet := func() (open int64) {
		r.eventually("the strangers are gone", func() bool { return r.stats().Counters["connections"]["without_token"] <= idle })
		return r.stats().Counters["connections"]["open"]
	}
	flood(sized(500, 5000)) // the remnants of a first flood are no leak
	open := quiet()
	files := r.files(pid)
	running := func() int64 { return r.stats().Counters["process"]["goroutines"] }
	goroutines := running()
	before, err := lab.RSS(pid)
	r.check(err)
	start, many := time.Now(), sized(3000, 100_000)
	flood(many)
	took := time.Since(start)
	r.served("after the flood")
	if now := quiet(); now > open+idle {
		t.Errorf("%d connections are open, and %d were", now, open)
	}
	r.eventually("descriptors come back", func() bool { return r.files(pid) <= files+4 })
	r.eventually("goroutines end", func() bool { return running() <= goroutines+idle })
	now, err := lab.RSS(pid)
	if err != nil || now > before+before/20+memorySlack {
		t.Errorf("the server grew from %d to %d bytes (%v)", before, now, err)
	}
	t.Logf("%d connections in %s; resident memory %d MiB before, %d MiB after; descriptors %d and %d; goroutines %d and %d",
		many, took, before>>20, now>>20, files, r.files(pid), goroutines, running())
	r.send("alice", "bob", "after", "--wait", "delivered", "--timeout", patience)
	r.settle()
	r.noPanic()
}

// A flood of connections from one address: the gate refuses the excess, and other addresses are served.
func TestHostileConnectFlood(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{serverEnv: append(realLimits(), "SECMSG_LIMITS_CONNECTIONS_NEW_BURST=100", "SECMSG_LIMITS_CONNECTIONS_NEW_EVERY=10ms")})
	r.connected("alice", "bob")
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range sized(400, 5000) {
		c, err := hostileDial(t.Context(), 1, r.w.Listen())
		if err != nil {
			continue
		}
		conns = append(conns, c)
	}
	st := r.stats().Counters["connections"]
	// The bound is per address, and exact. How many connections the two daemons have from theirs
	// depends on their current work.
	if st["without_token_most"] != perAddress || st["refused"] == 0 {
		t.Errorf("connections of strangers after a flood: %v, and one address may have %d", st, perAddress)
	}
	t.Logf("a flood of one address: %v", st)
	r.served("beside a flood")
	r.settle()
	r.noPanic()
}

// Bodies that could make a decoder stumble are refused quickly.
func TestHostileJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	deep := sized(100_000, 1_000_000)
	bodies := map[string]string{
		"deep arrays":      strings.Repeat("[", deep),
		"deep objects":     strings.Repeat(`{"account":`, deep/10),
		"deep in a field":  `{"account":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`,
		"a key twice":      `{"account":"alice","account":"bob","device":"x"}`,
		"another case":     `{"Account":"alice","device":"x"}`,
		"case twisted":     `{"account":"alice","ACCOUNT":"bob","device":"x"}`,
		"an unknown field": `{"account":"alice","device":"x","admin":true}`,
		"an operator":      `{"account":{"$ne":""},"device":"x"}`,
		"an array":         `{"account":["alice"],"device":"x"}`,
		"two documents":    `{"account":"alice","device":"x"}{"account":"bob","device":"x"}`,
		"not UTF-8":        "{\"account\":\"al\xffice\",\"device\":\"x\"}",
		"a long number":    `{"account":` + strings.Repeat("9", 4000) + `}`,
		"nothing":          ``,
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: hostileTLS()}, Timeout: settleTime}
	defer c.CloseIdleConnections()
	for _, path := range []string{"/v1/challenges", "/v1/tokens", "/v1/accounts"} {
		for name, body := range bodies {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.w.Listen()+path, bytes.NewReader([]byte(body)))
			r.check(err)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Secmsg-Protocol", "1")
			start := time.Now()
			resp, err := c.Do(req)
			if err != nil {
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s to %s: %v", name, path, err)
				}
				continue // closed while the body was being sent, which is an answer
			}
			answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode < 400 || resp.StatusCode > 499 {
				t.Errorf("%s to %s: %s %.200s (%v)", name, path, resp.Status, answer, err)
			}
			if took := time.Since(start); took > atLast {
				t.Errorf("%s to %s took %s", name, path, took)
			}
		}
	}
	if n := r.stats().Counters["api"]["panics"]; n > 0 {
		t.Errorf("%d handlers panicked", n)
	}
	r.noPanic()
}
