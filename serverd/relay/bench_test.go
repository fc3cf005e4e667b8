package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/store"
)

// The load of the benchmark (rpc/DELIVERY.md): 100 pairs, 1 KiB, 32 envelopes under way for each,
// acknowledged to the sender. Generators and server share the process, so CPU per message includes both
// ends.
const (
	benchPairs  = 100
	benchWindow = 32
	benchSize   = 1 << 10
)

// cpu is the process's CPU time.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchLoad runs the generators and reports messages per second and CPU per message.
func benchLoad(b *testing.B, senders, receivers []func(total int) error) {
	b.Helper()
	per := b.N/len(senders) + 1
	errs := make(chan error, len(senders)+len(receivers))
	b.ResetTimer()
	from := cpu()
	for _, run := range append(senders, receivers...) {
		go func() { errs <- run(per) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	n := float64(per * len(senders))
	b.ReportMetric(n/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64((cpu()-from).Nanoseconds())/n/1000, "cpu-us/msg")
}

func benchWorld(b *testing.B) *world {
	return newWorld(b, func(o *Options) {
		o.Limits.Messages.Burst = -1
		o.Limits.HandoffWait = 5 * time.Second
		o.Limits.Mailbox = store.MailboxLimits{Envelopes: 1 << 30, Bytes: 1 << 50}
	})
}

// benchPairsOf creates mutual contacts; with online, the recipients are connected. Senders put up to
// batch envelopes into a frame.
func benchPairsOf(w *world, online bool, batch int) (senders, receivers []func(int) error) {
	for i := range benchPairs {
		a, b := w.account(fmt.Sprintf("a%d", i)), w.account(fmt.Sprintf("b%d", i))
		w.mutual(a.account, b.account)
		ac := w.contact(a)
		senders = append(senders, func(total int) error { return benchSend(ac, b, total, batch) })
		if online {
			_, br := w.online(b)
			receivers = append(receivers, func(total int) error { return benchReceive(br, total) })
		}
	}
	return senders, receivers
}

// benchSend keeps a window of envelopes under way, and refills up to batch answered ones in one frame.
func benchSend(c *client, to *testDevice, total, batch int) error {
	text := strings.Repeat("x", benchSize)
	made, answered, room := 0, 0, benchWindow
	for answered < total {
		for made < total && room > 0 {
			send := new(wire.Send)
			for ; made < total && room > 0 && len(send.GetEnvelopes()) < batch; made, room = made+1, room-1 {
				o := c.envelope(to, 0, text)
				o.MessageId = numbered(made)
				send.Envelopes = append(send.Envelopes, o)
			}
			if err := c.tryWrite(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: send}}); err != nil {
				return err
			}
		}
		var f wire.ContactServer
		if err := c.tryRead(&f); err != nil {
			return err
		}
		if r := f.GetResult().GetRejected(); len(r) > 0 {
			return fmt.Errorf("rejected: %v", r[0])
		}
		n := len(f.GetResult().GetAccepted())
		answered, room = answered+n, room+n
	}
	return nil
}

// benchReceive acknowledges without storing.
func benchReceive(c *client, total int) error {
	for got := 0; got < total; {
		var f wire.ReplicaServer
		if err := c.tryRead(&f); err != nil {
			return err
		}
		got += len(f.GetDeliver().GetEnvelopes())
		if err := c.tryWrite(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{Ack: &wire.Ack{Through: uint64(got)}}}); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkForward forwards between online devices. With one envelope per frame its senders write as
// much as those of BenchmarkBareForward.
func BenchmarkForward(b *testing.B) {
	for _, batch := range []int{1, benchWindow} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) { benchForward(b, batch) })
	}
}

func benchForward(b *testing.B, batch int) {
	w := benchWorld(b)
	senders, receivers := benchPairsOf(w, true, batch)
	benchLoad(b, senders, receivers)
	b.StopTimer()
	if s := w.relay.Stats(); s.Stored > 0 {
		b.Logf("%d of %d went through a mailbox", s.Stored, s.Stored+s.Direct)
	}
}

// BenchmarkMailbox accepts envelopes for offline devices, each fsynced before its result.
func BenchmarkMailbox(b *testing.B) {
	senders, _ := benchPairsOf(benchWorld(b), false, benchWindow)
	benchLoad(b, senders, nil)
}

// bareServer forwards one frame at a time: from a sender to its receiver, and
// the receiver's acknowledgement back.
type bareServer struct {
	up     websocket.Upgrader
	mu     sync.Mutex
	conns  map[string]*websocket.Conn // guarded by mu
	joined atomic.Int32
}

func (s *bareServer) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	ws, err := s.up.Upgrade(rw, req, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	name := req.URL.Path
	s.mu.Lock()
	s.conns[name] = ws
	s.mu.Unlock()
	s.joined.Add(1)
	peer := strings.NewReplacer("/s", "/r", "/r", "/s").Replace(name)
	var to *websocket.Conn
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if to == nil {
			s.mu.Lock()
			to = s.conns[peer]
			s.mu.Unlock()
		}
		if to.SetWriteDeadline(time.Now().Add(wire.WriteTimeout)) != nil || to.WriteMessage(websocket.BinaryMessage, b) != nil {
			return
		}
	}
}

// BenchmarkBareForward is the reference: gorilla/websocket and nothing else.
func BenchmarkBareForward(b *testing.B) {
	s := &bareServer{conns: make(map[string]*websocket.Conn)}
	srv := httptest.NewServer(s)
	b.Cleanup(srv.Close)
	dial := func(path string) *websocket.Conn {
		ws, resp, err := websocket.DefaultDialer.DialContext(context.Background(), "ws"+strings.TrimPrefix(srv.URL, "http")+path, nil)
		must(b, err)
		must(b, resp.Body.Close())
		b.Cleanup(func() { _ = ws.Close() })
		return ws
	}
	var senders, receivers []func(int) error
	for i := range benchPairs {
		sender, receiver := dial(fmt.Sprint("/s", i)), dial(fmt.Sprint("/r", i))
		receivers = append(receivers, func(total int) error {
			for range total {
				_, m, err := receiver.ReadMessage()
				if err != nil {
					return err
				}
				if len(m) != benchSize {
					return errors.New("short message")
				}
				if err := receiver.WriteMessage(websocket.BinaryMessage, m[:8]); err != nil {
					return err
				}
			}
			return nil
		})
		senders = append(senders, func(total int) error {
			text := make([]byte, benchSize)
			for made, answered := 0, 0; answered < total; answered++ {
				for ; made < total && made-answered < benchWindow; made++ {
					if err := sender.WriteMessage(websocket.BinaryMessage, text); err != nil {
						return err
					}
				}
				if _, _, err := sender.ReadMessage(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	poll.Until(b, "all joined", func() bool { return s.joined.Load() == 2*benchPairs })
	benchLoad(b, senders, receivers)
}

// BenchmarkIdle reports the memory of an idle client with both connections: the server's side, plus the
// client's bare sockets.
func BenchmarkIdle(b *testing.B) {
	const clients = 1000
	w := benchWorld(b)
	devices := make([]*testDevice, clients)
	var wg sync.WaitGroup
	for i := range devices {
		wg.Go(func() { devices[i] = w.account(fmt.Sprint("a", i)) })
	}
	wg.Wait()
	dialer := &websocket.Dialer{ReadBufferSize: 256, WriteBufferSize: 256, WriteBufferPool: new(sync.Pool)}
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		before := memory()
		conns := make([]*websocket.Conn, 0, 2*clients)
		for _, d := range devices {
			open := func(role wire.Role) *client {
				header := http.Header{"Authorization": {"Bearer " + w.token(d, role)}}
				ws, _, err := dialer.Dial("ws"+strings.TrimPrefix(w.http.URL, "http")+"/v1/"+string(role), header)
				must(b, err)
				conns = append(conns, ws)
				return &client{t: b, w: w, d: d, ws: ws}
			}
			c := open(wire.RoleContact)
			c.fence(d.fence, 0)
			d.fence = c.contactFrame().GetIssued().GetValue()
			c.confirm(d.fence)
			c.contactFrame()
			r := open(wire.RoleReplica)
			must(b, r.tryWrite(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: d.fence, Protocol: 1}}}))
			r.replicaFrame()
		}
		b.ReportMetric(float64(memory()-before)/clients/1024, "KiB/client")
		for _, ws := range conns {
			must(b, ws.Close())
		}
		poll.Until(b, "all gone", func() bool { return w.relay.Stats().Devices == 0 })
	}
}

// BenchmarkDecodeSend is the cost of reading one Send of one envelope.
func BenchmarkDecodeSend(b *testing.B) {
	raw, err := proto.Marshal(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Envelopes: []*wire.Outgoing{{
		Seq: 1, MessageId: make([]byte, 16), Class: 1, Recipient: "bob", Device: make([]byte, 16), Ciphertext: make([]byte, benchSize),
	}}}}})
	must(b, err)
	for b.Loop() {
		var f wire.ContactClient
		must(b, wire.Unmarshal(raw, &f))
	}
}

// BenchmarkIdleTLS reports the memory of an idle TLS connection that has handled an envelope and a ping, with readers that
// wait in quietConn and with readers that wait inside gorilla and crypto/tls. Both figures include the
// client's end, which is the same.
func BenchmarkIdleTLS(b *testing.B) {
	const clients = 1000
	for name, listener := range map[string]func(net.Listener) net.Listener{
		"quiet": Listener, "gorilla": func(l net.Listener) net.Listener { return l },
	} {
		b.Run(name, func(b *testing.B) {
			w := benchWorld(b)
			w.http.Close()
			w.http = httptest.NewUnstartedServer(w.relay.Handler())
			w.http.Listener = listener(w.http.Listener)
			w.http.StartTLS()
			config := w.http.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			dialer := &websocket.Dialer{ReadBufferSize: 256, WriteBufferSize: 256, WriteBufferPool: new(sync.Pool), TLSClientConfig: config}
			memory := func() (stack, heap float64) {
				var m runtime.MemStats
				for range 3 {
					runtime.GC() // a stack is halved at each collection
				}
				runtime.ReadMemStats(&m)
				return float64(m.StackInuse), float64(m.HeapInuse)
			}
			for b.Loop() {
				stack, heap := memory()
				var conns []*websocket.Conn
				var cs []*client
				for i := range clients {
					d := w.account(fmt.Sprint("a", i))
					header := http.Header{"Authorization": {"Bearer " + w.token(d, wire.RoleContact)}}
					ws, _, err := dialer.Dial("wss"+strings.TrimPrefix(w.http.URL, "https")+"/v1/contact", header)
					must(b, err)
					conns = append(conns, ws)
					c := &client{t: b, w: w, d: d, ws: ws}
					c.fence(nil, 0)
					c.confirm(c.contactFrame().GetIssued().GetValue())
					c.contactFrame()
					cs = append(cs, c)
				}
				pause := time.NewTimer(longWait + time.Second/2)
				<-pause.C
				for _, c := range cs {
					c.send(c.envelope(c.d, 1, "x"))
					c.contactFrame()
				}
				pause.Reset(longWait + time.Second/2)
				<-pause.C
				for _, ws := range conns {
					pong := make(chan struct{}, 1)
					ws.SetPongHandler(func(string) error { close(pong); return errors.New("read") })
					must(b, ws.WriteControl(websocket.PingMessage, nil, time.Time{}))
					_, _, _ = ws.ReadMessage()
					<-pong
				}
				s, h := memory()
				b.ReportMetric((s-stack)/clients, "stack-B/conn")
				b.ReportMetric((h-heap)/clients, "heap-B/conn")
				for _, ws := range conns {
					must(b, ws.Close())
				}
				poll.Until(b, "all gone", func() bool { return w.relay.Stats().Devices == 0 })
			}
		})
	}
}
