package media_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"secmsg/scripts/poll"
	"secmsg/serverd/media"
)

// coturn starts Debian's turnserver with a shared secret and returns its
// address. Without the binary the test is skipped.
func coturn(t testing.TB, secret string) string {
	return coturnWith(t, "--use-auth-secret", "--static-auth-secret="+secret, "--realm="+realm, "--allow-loopback-peers", "-n")
}

// coturnWith starts it with more arguments.
func coturnWith(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("SKIPPED: no turnserver on this machine (Debian: apt install coturn), so nothing was proved about coturn")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(path, append(args, "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", fmt.Sprint("--listening-port=", port),
		"--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout", "--simple-log", "--pidfile="+dir+"/pid", "--userdb="+dir+"/db")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "ERROR") {
				t.Log(lines.Text())
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	poll.Until(t, "coturn listens", func() bool {
		c, err := net.Dial("tcp4", to)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	// coturn opens UDP last.
	poll.Until(t, "coturn answers over UDP", func() bool {
		c, err := net.Dial("udp4", to)
		if err != nil {
			return false
		}
		defer c.Close()
		if _, err := c.Write(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw); err != nil {
			return false
		}
		if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return false
		}
		_, err = c.Read(make([]byte, 1500))
		return err == nil
	})
	return to
}

// coturn accepts our credentials and refuses invalid ones.
func TestCoturn(t *testing.T) {
	to := coturn(t, "secret")
	for _, network := range []string{"udp", "tcp"} {
		username, password, _ := media.Mint([]byte("secret"), "alice", time.Now(), 10*time.Minute)
		relay, err := dial(t, network, to, username, password).Allocate()
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		other := udp(t)
		// More than 8 bytes: pion does not deliver shorter ChannelData from a stream before the next
		// message arrives.
		send(t, relay, "ping through coturn", other.LocalAddr())
		got, from := receive(t, other)
		if got != "ping through coturn" {
			t.Errorf("%s: %q", network, got)
		}
		send(t, other, "pong through coturn", from)
		if got, _ := receive(t, relay); got != "pong through coturn" {
			t.Errorf("%s: %q", network, got)
		}
		_ = relay.Close()
	}
	for name, c := range map[string]struct {
		secret string
		life   time.Duration
	}{"another secret": {"another", time.Minute}, "expired": {"secret", -time.Minute}} {
		username, password, _ := media.Mint([]byte(c.secret), "alice", time.Now(), c.life)
		if _, err := dial(t, "udp", to, username, password).Allocate(); err == nil {
			t.Errorf("%s: allocated", name)
		}
	}
}

// F6 with coturn in the configuration of OPERATIONS.md.
func TestCoturnOfOperations(t *testing.T) {
	text, err := os.ReadFile("../OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n    use-auth-secret\n")
	block, _, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 || !strings.Contains(block, "static-auth-secret=THE SECRET\n") || !strings.Contains(block, "realm="+realm+"\n") {
		t.Fatal("OPERATIONS.md has no such configuration of coturn")
	}
	conf := "use-auth-secret\n" + strings.ReplaceAll(strings.ReplaceAll(block, "    ", ""), "THE SECRET", "secret") + "\n"
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	to := coturnWith(t, "-c", file, "--relay-ip=::1")
	for family, number := range map[string]byte{"IPv4": 1, "IPv6": 2} {
		username, password, _ := media.Mint([]byte("secret"), "alice", time.Now(), time.Minute)
		r := rawTo(t, netip.MustParseAddrPort(to), username, password)
		if code, _ := r.do(stun.MethodAllocate, transport(17), attribute(stun.AttrRequestedAddressFamily, []byte{number, 0, 0, 0})); code != 0 {
			t.Errorf("%s: allocate: %d", family, code)
			continue
		}
		for _, text := range forbidden() {
			if addr := netip.MustParseAddr(text); addr.Is6() == (family == "IPv6") {
				if code, _ := r.do(stun.MethodCreatePermission, peer(netip.AddrPortFrom(addr, 99))); code != stun.CodeForbidden {
					t.Errorf("%s: %d", text, code)
				}
			}
		}
		for text, want := range map[string]string{"1.1.1.1": "IPv4", "2606:4700::1111": "IPv6"} {
			if code, _ := r.do(stun.MethodCreatePermission, peer(netip.AddrPortFrom(netip.MustParseAddr(text), 53))); want == family && code != 0 {
				t.Errorf("%s: %d", text, code)
			}
		}
	}
}
