package media

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v5/vnet"
	"github.com/pion/turn/v5"
)

// capture records the traffic of a network.
type capture struct {
	mu      sync.Mutex
	packets []captured // guarded by mu
}

type captured struct {
	from, to string // addresses with ports
	data     []byte
}

func (c *capture) take(k vnet.Chunk) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packets = append(c.packets, captured{k.SourceAddr().String(), k.DestinationAddr().String(), bytes.Clone(k.UserData())})
	return true
}

func (c *capture) all() []captured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packets
}

// F10 in crypto/ATTACKS.md: with relays only, every packet of this host goes to the relay
// or comes from it, no signal contains an address of this host, even after a restart, and
// no content is readable: the packets of this call have a recognizable pattern.
func TestCaptureOfARelayedCall(t *testing.T) {
	t.Parallel()
	const hidden, other, server = "198.51.100.1", "198.51.100.2", "198.51.100.3"
	na, nb, router := network(t, time.Millisecond)
	ns, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{server}})
	if err != nil {
		t.Fatal(err)
	}
	if err := router.AddNet(ns); err != nil {
		t.Fatal(err)
	}
	wire := &capture{}
	router.AddChunkFilter(wire.take)
	start(t, router)
	conn, err := ns.ListenPacket("udp4", server+":3478")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: quietLoggers{},
		AuthHandler: func(ra *turn.RequestAttributes) (string, []byte, bool) {
			return ra.Username, turn.GenerateAuthKey(ra.Username, ra.Realm, "secret"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(server), Address: server, Net: ns},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Close(); err != nil {
			t.Errorf("close relay: %v", err)
		}
	})
	pattern := bytes.Repeat([]byte("what is said "), 8)
	src := &fake{codec: Opus, step: opusFrame, frame: func(*fake) Frame {
		return Frame{Data: append([]byte{tocSilence20}, pattern...), Key: true}
	}}
	// Also a STUN server: nothing may be sent to it.
	servers := []ICEServer{{URLs: []string{"stun:" + server + ":3478"}}, {URLs: []string{"turn:" + server + ":3478?transport=udp"}, Username: "alice", Password: "secret"}}
	p := join(t, side{options: Options{net: na, RelayOnly: true, ICEServers: servers}, sources: Sources{Audio: src}, sinks: null()},
		side{options: Options{net: nb}, sources: Sources{Audio: source(t, Audio, SpecTest)}, sinks: null()})
	p.start(t)
	told := 0
	collect := func(e Candidate) bool {
		told++
		if strings.Contains(e.SDP, hidden) || !strings.Contains(e.SDP, " "+server+" ") || !strings.Contains(e.SDP, "typ relay") {
			t.Errorf("an address leaves: %s", e.SDP)
		}
		return true
	}
	until(t, p.from[0], 15*time.Second, collect)
	if c := until[Connected](t, p.from[0], 15*time.Second, nil); c.Pair != Relayed {
		t.Errorf("pair %q", c.Pair)
	}
	received(t, p.from[1], 40, 0, 30*time.Second)
	offer, err := p.caller.Restart(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	answer, print, err := p.callee.Accept(context.Background(), offer, fingerprintOf(t, p.caller))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.caller.Answer(answer, print); err != nil {
		t.Fatal(err)
	}
	until(t, p.from[0], 15*time.Second, collect)
	received(t, p.from[1], p.callee.Summary().AudioIn.Frames+40, 0, 30*time.Second)
	if strings.Contains(offer, hidden) || strings.Contains(offer, "candidate") {
		t.Errorf("the offer of a restart has an address:\n%s", offer)
	}
	p.close(t)
	ofHidden := 0
	for _, k := range wire.all() {
		from, to := strings.HasPrefix(k.from, hidden+":"), strings.HasPrefix(k.to, hidden+":")
		if from || to {
			ofHidden++
		}
		if from && k.to != server+":3478" || to && k.from != server+":3478" {
			t.Errorf("a packet from %s to %s", k.from, k.to)
		}
		if bytes.Contains(k.data, pattern[:13]) {
			t.Fatalf("what is said can be read between %s and %s", k.from, k.to)
		}
		if strings.HasPrefix(k.to, other+":") && (bytes.Contains(k.data, net.ParseIP(hidden).To4()) || bytes.Contains(k.data, []byte(hidden))) {
			t.Errorf("the address is told to the peer: %x", k.data)
		}
		if host, _, err := net.SplitHostPort(k.to); err != nil || host != hidden && host != other && host != server {
			t.Errorf("a packet to %s", k.to)
		}
	}
	if ofHidden < 80 || told < 2 {
		t.Errorf("%d packets of the hidden host, %d candidates", ofHidden, told)
	}
}

func fingerprintOf(t *testing.T, s *Session) []byte {
	t.Helper()
	b, err := s.ownFingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
