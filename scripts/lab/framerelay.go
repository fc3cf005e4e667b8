package lab

import (
	"net/http"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
)

// relay joins a client's WebSocket to the server's.
func (p *FrameProxy) relay(w http.ResponseWriter, r *http.Request) {
	header := http.Header{}
	for _, k := range []string{"Authorization", "Secmsg-Protocol"} {
		if v := r.Header.Get(k); v != "" {
			header.Set(k, v)
		}
	}
	dialer := websocket.Dialer{TLSClientConfig: unchecked()}
	up, resp, err := dialer.DialContext(r.Context(), "wss://"+p.upstream+r.URL.RequestURI(), header)
	if err != nil {
		status := http.StatusBadGateway
		if resp != nil {
			status = resp.StatusCode
		}
		w.WriteHeader(status)
		return
	}
	defer up.Close()
	up.SetReadLimit(wire.MaxFrame)
	down, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.conns[down.NetConn()] = true // net/http forgets upgraded connections
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, down.NetConn())
		p.mu.Unlock()
		_ = down.Close()
	}()
	l := &leg{proxy: p, account: accountOfToken(r.Header.Get("Authorization")), role: wire.RoleContact}
	if strings.HasSuffix(r.URL.Path, "/replica") {
		l.role = wire.RoleReplica
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.pump(up, down, l.up) })
	l.pump(down, up, l.down)
	wg.Wait()
}

// leg is one connection through the proxy.
type leg struct {
	proxy   *FrameProxy
	account string
	role    wire.Role
	acks    ackMap
}

// pump copies messages from src to dst through f until one of them ends, and then ends both.
func (l *leg) pump(dst, src *websocket.Conn, f func([]byte) ([][]byte, bool)) {
	defer dst.Close()
	defer src.Close()
	for {
		typ, b, err := src.ReadMessage()
		if err != nil {
			return
		}
		out, cut := f(b)
		for _, frame := range out {
			if dst.WriteMessage(typ, frame) != nil {
				return
			}
		}
		if cut {
			return
		}
	}
}

// up handles a frame for the server.
func (l *leg) up(b []byte) ([][]byte, bool) {
	if l.role == wire.RoleReplica {
		if b = l.acks.translate(b); b == nil {
			return nil, false
		}
	}
	return l.hook(true, b)
}

// down handles a frame for the client: the envelopes of a delivery pass the Deliver hook, and the
// remaining ones are numbered again.
func (l *leg) down(b []byte) ([][]byte, bool) {
	var f wire.ReplicaServer
	if l.role == wire.RoleReplica && wire.Unmarshal(b, &f) == nil && f.GetDeliver() != nil {
		if b = l.deliver(f.GetDeliver()); b == nil {
			return nil, false
		}
	}
	return l.hook(false, b)
}

func (l *leg) deliver(d *wire.Deliver) []byte {
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	envs := d.GetEnvelopes()
	if p.hooks.Deliver != nil {
		envs = p.hooks.Deliver(l.account, envs)
	}
	return l.acks.number(d, envs)
}

func (l *leg) hook(up bool, b []byte) ([][]byte, bool) {
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hooks.Frame == nil {
		return [][]byte{b}, false
	}
	return p.hooks.Frame(Frame{Account: l.account, Role: l.role, Up: up, Data: b})
}

// ackMap translates the client's cumulative acknowledgements into the server's numbers.
type ackMap struct {
	mu   sync.Mutex
	next uint64   // number of envelopes given to the client so far
	ends []uint64 // ends[i] is the client's number once server number i+1 was handled
}

// number returns the frame that delivers envs in place of those of d, or nil for none.
func (a *ackMap) number(d *wire.Deliver, envs []*wire.Envelope) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, err := encodeDeliver(a.next+1, envs)
	if err != nil { // the hook returned more than fits into a frame
		envs = d.GetEnvelopes()
		if b, err = encodeDeliver(a.next+1, envs); err != nil {
			return nil
		}
	}
	a.next += uint64(len(envs))
	for range d.GetEnvelopes() {
		a.ends = append(a.ends, a.next)
	}
	if len(envs) == 0 {
		return nil
	}
	return b
}

func encodeDeliver(first uint64, envs []*wire.Envelope) ([]byte, error) {
	return wire.Marshal(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Deliver{
		Deliver: &wire.Deliver{First: first, Envelopes: envs}}})
}

// translate rewrites an acknowledgement. Other frames are unchanged.
func (a *ackMap) translate(b []byte) []byte {
	var f wire.ReplicaClient
	if wire.Unmarshal(b, &f) != nil || f.GetAck() == nil {
		return b
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	through := uint64(0)
	for i, end := range a.ends {
		if end <= f.GetAck().GetThrough() {
			through = uint64(i + 1)
		}
	}
	f.GetAck().Through = through
	out, err := wire.Marshal(&f)
	if err != nil {
		return nil
	}
	return out
}
