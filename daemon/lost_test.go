package daemon_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/admin"
	"secmsg/rpc/local"
	"secmsg/scripts/poll"
)

// slowBack forwards connections and holds back what the server says, so that
// an answer can be lost after the server has done what was asked.
type slowBack struct {
	ln    net.Listener
	delay time.Duration
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newSlowBack(t *testing.T, to string, delay time.Duration) *slowBack {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &slowBack{ln: ln, delay: delay}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, s)
			p.mu.Unlock()
			p.wg.Go(func() { _, _ = io.Copy(s, c); _ = s.Close() })
			p.wg.Go(func() { p.back(c, s) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *slowBack) back(c, s net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := s.Read(buf)
		if n > 0 {
			<-time.After(p.delay)
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *slowBack) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// TestJoinAnswerLost has the server make the account while its answer is lost:
// no account is shown, and the same command finishes the join with the same keys.
func TestJoinAnswerLost(t *testing.T) {
	s := newServer(t)
	proxy := newSlowBack(t, s.address, 300*time.Millisecond)
	p := newProfile(t)
	p.run()
	direct := s.invite()
	invite := strings.Replace(direct, s.address, proxy.ln.Addr().String(), 1)
	failed := make(chan error, 1)
	go func() {
		_, err := p.client.Join(context.Background(), local.JoinParams{Invite: invite, Name: "alice"})
		failed <- err
	}()
	c := admin.NewClient(filepath.Join(s.dir, "admin.sock"))
	defer c.Close()
	var made admin.User
	poll.Until(t, "the server has made the account", func() bool {
		var err error
		made, err = c.User(t.Context(), "alice")
		return err == nil
	})
	proxy.cut()
	wantCode(t, <-failed, local.CodeUnreachable)
	list, err := p.client.Accounts(t.Context())
	check(t, err)
	if len(list) != 0 {
		t.Errorf("a join without an answer shows %+v", list)
	}
	p.stop()
	p.run()
	again, err := p.client.Join(t.Context(), local.JoinParams{Invite: direct, Name: "alice"})
	check(t, err)
	if again.Fingerprint != made.Fingerprint {
		t.Error("the account was finished with another key than the server certified")
	}
	p.connected()
}
