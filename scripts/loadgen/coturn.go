package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pion/stun/v4"
)

// ErrNoCoturn means that the machine has no turnserver (Debian: package coturn).
var ErrNoCoturn = errors.New("loadgen: no turnserver on this machine")

// coturnStart bounds the time until coturn listens.
const coturnStart = 10 * time.Second

// coturnAnswer bounds the wait for the answer to one request over UDP.
const coturnAnswer = 100 * time.Millisecond

// Coturn is a running coturn on loopback, for comparisons.
type Coturn struct {
	Addr string // HOST:PORT of UDP and TCP
	Pid  int

	cmd *exec.Cmd
	dir string
}

// StartCoturn runs Debian's turnserver with a shared secret, loopback peers allowed and TLS off. It
// returns ErrNoCoturn if there is none.
func StartCoturn(ctx context.Context, realm, secret string) (*Coturn, error) {
	path, err := exec.LookPath("turnserver")
	if err != nil {
		return nil, ErrNoCoturn
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("coturn: %w", err)
	}
	c := &Coturn{Addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("coturn: %w", err)
	}
	if c.dir, err = os.MkdirTemp("", "secmsg-coturn."); err != nil {
		return nil, fmt.Errorf("coturn: %w", err)
	}
	_, port, _ := net.SplitHostPort(c.Addr)
	c.cmd = exec.Command(path, "-n", "--use-auth-secret", "--static-auth-secret="+secret, "--realm="+realm, "--listening-ip=127.0.0.1",
		"--relay-ip=127.0.0.1", "--listening-port="+port, "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli",
		"--log-file="+filepath.Join(c.dir, "log"), "--simple-log", "--pidfile="+filepath.Join(c.dir, "pid"), "--userdb="+filepath.Join(c.dir, "db"))
	c.cmd.Stdout, c.cmd.Stderr = io.Discard, io.Discard
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("coturn: %w", err), os.RemoveAll(c.dir))
	}
	c.Pid = c.cmd.Process.Pid
	if err := c.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("coturn: %w", err), c.Close())
	}
	return c, nil
}

// ready waits until coturn accepts connections and answers over UDP, which it opens separately.
func (c *Coturn) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, coturnStart)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp4", c.Addr)
		if err == nil {
			if err = errors.Join(conn.Close(), c.binding(ctx)); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// binding sends one request over UDP.
func (c *Coturn) binding(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp4", c.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(coturnAnswer)); err != nil {
		return err
	}
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		return err
	}
	if _, err := conn.Write(m.Raw); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, maxTurnPacket))
	return err
}

// Close ends coturn and waits for it.
func (c *Coturn) Close() error {
	_ = c.cmd.Process.Kill() // it may have ended already
	_ = c.cmd.Wait()         // it was killed
	return os.RemoveAll(c.dir)
}
