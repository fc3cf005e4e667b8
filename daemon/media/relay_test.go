package media

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// relay starts a TURN server on the loopback interface.
func relay(t *testing.T) ICEServer { return relayFor(t, func() bool { return true }) }

// relayFor starts a media server that allows allocations as allowed says.
func relayFor(t *testing.T, allowed func() bool) ICEServer {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: quietLoggers{},
		AuthHandler: func(ra *turn.RequestAttributes) (string, []byte, bool) {
			return ra.Username, turn.GenerateAuthKey(ra.Username, ra.Realm, "secret"), ra.Username == "alice" && (ra.Method != stun.MethodAllocate || allowed())
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close relay: %v", err)
		}
	})
	return ICEServer{URLs: []string{"turn:" + conn.LocalAddr().String() + "?transport=udp"}, Username: "alice", Password: "secret"}
}

// F10 in crypto/ATTACKS.md: a call with relays only connects through one and reveals only
// relayed addresses, without their related addresses.
func TestRelayedCall(t *testing.T) {
	t.Parallel()
	server := relay(t)
	a, b := opusOnly(t)
	a.options.RelayOnly, a.options.ICEServers = true, []ICEServer{server}
	p := join(t, a, b)
	begin := time.Now()
	p.start(t)
	told := 0
	until(t, p.from[0], 15*time.Second, func(e Candidate) bool {
		if !strings.Contains(e.SDP, "typ relay") || !strings.HasSuffix(strings.Split(e.SDP, " ufrag")[0], "raddr 0.0.0.0 rport 0") {
			t.Errorf("an address leaves: %s", e.SDP)
		}
		told++
		return true
	})
	c := until[Connected](t, p.from[0], 15*time.Second, nil)
	t.Logf("connected after %s", time.Since(begin).Round(time.Millisecond))
	if c.Pair != Relayed || told == 0 {
		t.Errorf("pair %q, %d candidates", c.Pair, told)
	}
	st := received(t, p.from[1], 40, 0, 10*time.Second)
	if st.Pair != Relayed {
		t.Errorf("the other side says %q", st.Pair)
	}
}
