package media_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"go.uber.org/goleak"

	"secmsg/serverd/clock/clocktest"
	"secmsg/serverd/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	realm = "chat.example.com"
	// wait bounds the wait for expected packets; silence is how long no packet must arrive.
	wait    = 5 * time.Second
	silence = 100 * time.Millisecond
)

// server starts a server on loopback with a clock that stands still.
func server(t testing.TB, change func(*media.Options)) (*media.Server, *clocktest.Clock) {
	t.Helper()
	c := clocktest.At(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	opt := media.Options{Realm: realm, Secret: []byte("secret"), Listen: "127.0.0.1:0", Loopback: true, Now: c.Now}
	if change != nil {
		change(&opt)
	}
	s, err := media.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, c
}

func quiet() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
}

// dial makes a pion client of account over udp or tcp.
func dial(t testing.TB, network, to, username, password string) *turn.Client {
	t.Helper()
	var conn net.PacketConn
	var err error
	if network == "tcp" {
		var c net.Conn
		if c, err = net.Dial("tcp", to); err == nil {
			conn = turn.NewSTUNConn(c)
		}
	} else {
		conn, err = net.ListenPacket("udp4", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: to, TURNServerAddr: to, Username: username, Password: password, Conn: conn, LoggerFactory: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); _ = conn.Close() })
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	return c
}

// allocate makes an allocation of account.
func allocate(t testing.TB, s *media.Server, network, account string) net.PacketConn {
	t.Helper()
	username, password, _ := s.Mint(account)
	relay, err := dial(t, network, s.Addr().String(), username, password).Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() })
	return relay
}

// receive reads one packet.
func receive(t testing.TB, c net.PacketConn) (string, net.Addr) {
	t.Helper()
	b := make([]byte, 2000)
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	n, from, err := c.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), from
}

// quietFor fails if a packet arrives.
func quietFor(t testing.TB, c net.PacketConn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := c.ReadFrom(make([]byte, 2000)); err == nil {
		t.Errorf("%d bytes arrived from %v", n, from)
	}
}

func send(t testing.TB, c net.PacketConn, text string, to net.Addr) {
	t.Helper()
	if _, err := c.WriteTo([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

// udp opens a socket of a peer.
func udp(t testing.TB) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw is a client that sends messages that no library would send.
type raw struct {
	t        testing.TB
	conn     net.PacketConn
	to       net.Addr
	username string
	realm    string
	key      []byte
	nonce    stun.Nonce
}

// newRaw makes a client with its nonce.
func newRaw(t testing.TB, s *media.Server, username, password string) *raw {
	t.Helper()
	return rawTo(t, s.Addr(), username, password)
}

// rawTo is newRaw for a server at an address.
func rawTo(t testing.TB, to netip.AddrPort, username, password string) *raw {
	t.Helper()
	r := &raw{
		t: t, conn: udp(t), to: net.UDPAddrFromAddrPort(to), username: username, realm: realm,
		key: turn.GenerateAuthKey(username, realm, password),
	}
	m := r.exchange(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transport(17)))
	if m == nil || r.nonce.GetFrom(m) != nil {
		t.Fatalf("no nonce in %v", m)
	}
	return r
}

// exchange sends a message and returns the answer, or nil if there is none.
func (r *raw) exchange(m *stun.Message) *stun.Message {
	r.t.Helper()
	if _, err := r.conn.WriteTo(m.Raw, r.to); err != nil {
		r.t.Fatal(err)
	}
	b := make([]byte, 2000)
	end := time.Now().Add(time.Second)
	for {
		if err := r.conn.SetReadDeadline(end); err != nil {
			r.t.Fatal(err)
		}
		n, _, err := r.conn.ReadFrom(b)
		if err != nil {
			return nil
		}
		got := &stun.Message{Raw: append([]byte(nil), b[:n]...)}
		if got.Decode() == nil && got.TransactionID == m.TransactionID {
			return got
		}
	}
}

// request builds a signed request.
func (r *raw) request(method stun.Method, more ...stun.Setter) *stun.Message {
	r.t.Helper()
	setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, more...)
	setters = append(setters, stun.NewUsername(r.username), stun.NewRealm(r.realm), r.nonce, stun.MessageIntegrity(r.key))
	m, err := stun.Build(setters...)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// do sends a signed request and returns the answer's error code; 0 for success,
// -1 for no answer.
func (r *raw) do(method stun.Method, more ...stun.Setter) (stun.ErrorCode, *stun.Message) {
	r.t.Helper()
	m := r.exchange(r.request(method, more...))
	if m == nil {
		return -1, nil
	}
	if m.Type.Class == stun.ClassSuccessResponse {
		if err := stun.MessageIntegrity(r.key).Check(m); err != nil {
			r.t.Errorf("%v: %v", method, err)
		}
		return 0, m
	}
	var code stun.ErrorCodeAttribute
	if err := code.GetFrom(m); err != nil {
		r.t.Fatal(err)
	}
	return code.Code, m
}

// setter is an attribute.
type setter func(*stun.Message) error

func (f setter) AddTo(m *stun.Message) error { return f(m) }

func attribute(t stun.AttrType, v []byte) stun.Setter {
	return setter(func(m *stun.Message) error { m.Add(t, v); return nil })
}

func transport(protocol byte) stun.Setter {
	return attribute(stun.AttrRequestedTransport, []byte{protocol, 0, 0, 0})
}

func lifetime(seconds uint32) stun.Setter {
	return attribute(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds))
}

// peer is XOR-PEER-ADDRESS in the form of addr: IPv4 in IPv6 is not unmapped.
func peer(addr netip.AddrPort) stun.Setter {
	return setter(func(m *stun.Message) error {
		const cookie = 0x2112A442
		v := []byte{0, 1}
		if addr.Addr().Is6() {
			v[1] = 2
		}
		v = binary.BigEndian.AppendUint16(v, addr.Port()^cookie>>16)
		pad := append(binary.BigEndian.AppendUint32(nil, cookie), m.TransactionID[:]...)
		for i, b := range addr.Addr().AsSlice() {
			v = append(v, b^pad[i])
		}
		m.Add(stun.AttrXORPeerAddress, v)
		return nil
	})
}

func channel(n uint16) stun.Setter {
	return attribute(stun.AttrChannelNumber, []byte{byte(n >> 8), byte(n), 0, 0})
}

// granted returns the lifetime in an answer, in seconds.
func granted(t testing.TB, m *stun.Message) uint32 {
	t.Helper()
	v, err := m.Get(stun.AttrLifetime)
	if err != nil || len(v) != 4 {
		t.Fatalf("no lifetime in %v", m)
	}
	return binary.BigEndian.Uint32(v)
}
