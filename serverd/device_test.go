package serverd_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"secmsg/rpc/wire"
)

// TestDeviceListOfAConnectedDevice: an administrator sees that a device is connected, and when it was
// last seen after it has disconnected.
func TestDeviceListOfAConnectedDevice(t *testing.T) {
	s := start(t, nil)
	u := s.join("alice")
	show := func() (connected bool, seen time.Time) {
		t.Helper()
		list, err := s.admin().Devices(t.Context(), "alice")
		if err != nil || len(list.Devices) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list.Devices[0].Connected, list.Devices[0].LastSeen.Time
	}
	if connected, seen := show(); connected || !seen.IsZero() {
		t.Errorf("before: connected %v, seen %s", connected, seen)
	}
	dialer := websocket.Dialer{TLSClientConfig: s.tlsConfig(), HandshakeTimeout: 5 * time.Second}
	h := http.Header{"Authorization": {"Bearer " + u.token(s.client(), wire.RoleContact)}}
	ws, resp, err := dialer.Dial("wss://"+s.addr+"/v1/contact", h)
	if err != nil {
		t.Fatal(err, resp)
	}
	defer ws.Close()
	exchange := func(m *wire.ContactClient) *wire.ContactServer {
		t.Helper()
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
			t.Fatal(err)
		}
		_, b, err = ws.ReadMessage()
		out := new(wire.ContactServer)
		if err == nil {
			err = proto.Unmarshal(b, out)
		}
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	issued := exchange(&wire.ContactClient{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Protocol: 1}}}).GetIssued()
	if exchange(&wire.ContactClient{Frame: &wire.ContactClient_Confirm{Confirm: &wire.FenceConfirm{Value: issued.GetValue()}}}).GetConfirmed() == nil {
		t.Fatal("not confirmed")
	}
	before := time.Now().Truncate(time.Second)
	if connected, seen := show(); !connected || seen.Before(before) || time.Since(seen) > time.Minute {
		t.Errorf("connected: %v, seen %s", connected, seen)
	}
	_ = ws.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		if connected, _ := show(); !connected {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a vanished device still counts as connected")
		}
	}
}
