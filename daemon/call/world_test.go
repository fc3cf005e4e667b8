package call

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// world has devices of two accounts, a network that loses, repeats and delays signals, and
// media that connect when keys and addresses match. It has its own clock.
type world struct {
	t       *testing.T
	r       *rand.Rand
	now     time.Duration
	agenda  agenda
	serial  int
	nodes   []*node
	loss    float64
	calls   int
	restart int // number of restarted daemons
}

// node is one device.
type node struct {
	w      *world
	peer   identity.Address // the account it calls
	name   identity.Address
	device key.DeviceID
	o      *observer
	s      State
	media  map[ID]*wire
	life   int
	ends   map[ID]string
}

// wire is one device's end of a connection.
type wire struct {
	keys  *SetKeys
	got   bool // has addresses of the peer
	up    bool
	broke bool // the path is lost until a restart
	// generation of the last restart: must be equal at both ends.
	generation uint32
}

type task struct {
	at  time.Duration
	n   int
	run func()
}

// agenda is a heap of pending events, in order of time.
type agenda []task

func (t agenda) Len() int { return len(t) }
func (t agenda) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].n < t[j].n
}
func (t agenda) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *agenda) Push(x any)   { *t = append(*t, x.(task)) }
func (t *agenda) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

func newWorld(t *testing.T, seed uint64, loss float64, alices, bobs int) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 7)), loss: loss}
	for i := range alices + bobs {
		n := &node{w: w, name: account("alice@x"), peer: account("bob@x"), device: deviceOf(1 + i), o: newObserver(t), media: map[ID]*wire{}, ends: map[ID]string{}}
		if i >= alices {
			n.name, n.peer = n.peer, n.name
		}
		w.nodes = append(w.nodes, n)
	}
	return w
}

func (w *world) after(d time.Duration, f func()) {
	w.serial++
	heap.Push(&w.agenda, task{w.now + d, w.serial, f})
}

// run advances time.
func (w *world) run(until time.Duration) {
	for len(w.agenda) > 0 && w.agenda[0].at <= until {
		x := heap.Pop(&w.agenda).(task)
		w.now = x.at
		x.run()
	}
	w.now = until
}

func (n *node) step(e Event) {
	n.o.now = n.w.now
	before := n.s
	n.s = n.o.step(n.s, e)
	_, effects := Next(before, e) // pure: equal to the effects checked before
	for _, f := range effects {
		n.do(f)
	}
}

func (n *node) later(d time.Duration, e Event) {
	life := n.life
	n.w.after(d, func() {
		if n.life == life {
			n.step(e)
		}
	})
}

func (n *node) do(f Effect) {
	const quick = 3 * time.Millisecond
	switch f := f.(type) {
	case Send:
		n.send(f)
	case StartTimer:
		n.later(f.After, Expired{ID: f.ID, Timer: f.Timer, Serial: f.Serial})
	case MakeOffer:
		n.media[f.ID] = new(wire)
		n.later(quick, Described{ID: f.ID, SDP: "offer", Fingerprint: print32(1)})
		n.gather(f.ID, 0)
	case MakeAnswer:
		n.media[f.ID] = new(wire)
		n.later(quick, Described{ID: f.ID, SDP: "answer", Fingerprint: print32(2)})
		n.gather(f.ID, 0)
	case SetKeys:
		n.media[f.ID].keys = &f
		n.w.join(f.ID)
	case AddCandidates:
		n.media[f.ID].got = true
		n.w.join(f.ID)
	case MakeRestart:
		*n.media[f.ID] = wire{keys: n.media[f.ID].keys, generation: f.Generation}
		n.later(quick, Restarted{ID: f.ID, Generation: f.Generation, SDP: "restart"})
		n.gather(f.ID, f.Generation)
	case AnswerRestart:
		*n.media[f.ID] = wire{keys: n.media[f.ID].keys, generation: f.Generation}
		n.later(quick, Restarted{ID: f.ID, Generation: f.Generation, SDP: "restarted"})
		n.gather(f.ID, f.Generation)
	case Adopt:
		delete(n.media, f.From)
	case Tell:
		if f.Reason != "" {
			n.ends[f.Call.ID] = f.Reason
			n.drop(f.Call.ID)
		}
	}
}

func (n *node) gather(id ID, generation uint32) {
	for i := range 2 {
		n.later(time.Duration(5+20*i)*time.Millisecond, Candidate{ID: id, Generation: generation, Candidate: fmt.Sprint(n.device[0], generation, i)})
	}
}

// drop ends a connection. The other end receives nothing more.
func (n *node) drop(id ID) {
	delete(n.media, id)
	for _, m := range n.w.nodes {
		if x := m.media[id]; x != nil && x.up {
			x.up = false
			m.later(5*time.Second, MediaDown{ID: id})
		}
	}
}

// join connects two matching ends.
func (w *world) join(id ID) {
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			x, y := a.media[id], b.media[id]
			if a == b || x == nil || y == nil || x.keys == nil || y.keys == nil || x.up && y.up || x.broke || y.broke || x.generation != y.generation || !x.got && !y.got {
				continue
			}
			if x.keys.Device != b.device || y.keys.Device != a.device || x.keys.Out == y.keys.Out ||
				x.keys.Offer != y.keys.Offer || x.keys.Answer != y.keys.Answer {
				continue
			}
			x.up, y.up = true, true
			a.later(10*time.Millisecond, MediaUp{ID: id})
			b.later(10*time.Millisecond, MediaUp{ID: id})
		}
	}
}

// send delivers or loses a signal.
func (n *node) send(f Send) {
	var to []*node
	var all []key.DeviceID
	for _, m := range n.w.nodes {
		if m.name != f.Peer {
			continue
		}
		all = append(all, m.device)
		chosen := len(f.To) == 0
		for _, d := range f.To {
			chosen = chosen || d == m.device
		}
		if chosen {
			to = append(to, m)
		}
	}
	n.later(0, Sent{ID: f.ID, Devices: all})
	for _, m := range to {
		for range 1 + n.w.r.IntN(5)/4 { // duplicate some
			if n.w.r.Float64() < n.w.loss {
				continue
			}
			c := proto.Clone(f.Call).(*e2e.Call)
			m.later(time.Duration(1+n.w.r.IntN(300))*time.Millisecond, Signal{Peer: n.name, Device: n.device, Call: c})
		}
	}
}

// call makes a device call the other account.
func (n *node) call() ID {
	n.w.calls++
	id := idOf(n.w.calls)
	if n.s.Active() != nil {
		return id
	}
	e := Start{ID: id, Peer: n.peer, Ring: time.Minute}
	n.w.r.Uint64()
	e.Secret[0], e.Spare[0] = byte(n.w.calls), byte(100+n.w.calls)
	n.step(e)
	return id
}

// takeAny accepts a ringing call.
func (n *node) takeAny() {
	for _, c := range n.s.Calls {
		if !c.Accepted {
			e := Accept{ID: c.ID}
			e.Secret[0] = n.device[0]
			n.step(e)
			return
		}
	}
}

// crash restarts a daemon without its state.
func (n *node) crash() {
	n.w.restart++
	n.life++
	for id := range n.media {
		n.drop(id)
	}
	n.s, n.o = State{}, newObserver(n.w.t)
}

// breaks cuts the path of a call on both sides.
func (w *world) breaks(id ID) {
	for _, m := range w.nodes {
		if x := m.media[id]; x != nil && x.up {
			x.up, x.broke = false, true
			w.after(time.Duration(4000+w.r.IntN(2000))*time.Millisecond, func() {
				if m.media[id] == x && x.broke { // else a restart was faster
					m.step(MediaDown{ID: id})
				}
			})
		}
	}
}

// settled checks that all devices agree: no call is between two phases, and a connected
// call is connected on exactly two devices, which name each other.
func (w *world) settled() error {
	ends := map[ID][]*node{}
	for _, n := range w.nodes {
		for _, c := range n.s.Calls {
			if c.Phase != Connected {
				return fmt.Errorf("device %d: a call is still %s", n.device[0], c.Phase)
			}
			ends[c.ID] = append(ends[c.ID], n)
		}
	}
	for id, who := range ends {
		if len(who) != 2 || who[0].name == who[1].name || who[0].s.Find(id).Device != who[1].device || who[1].s.Find(id).Device != who[0].device {
			return fmt.Errorf("call %d is connected on %d devices that do not name each other", id[15], len(who))
		}
	}
	return nil
}

// Devices of two users agree in the end, over a network that loses a fifth of the signals,
// duplicates and reorders them, whatever the users do: calls from both sides at once,
// answers on two devices, restarts, lost paths.
func TestDevicesConverge(t *testing.T) {
	connected, glare := 0, 0
	for seed := range uint64(40) {
		w := newWorld(t, seed, 0.2, 1+int(seed%2), 1+int(seed/2%2))
		for range 30 {
			n := w.nodes[w.r.IntN(len(w.nodes))]
			switch w.r.IntN(9) {
			case 0, 1, 2:
				n.call()
				if w.r.IntN(3) == 0 {
					other := w.nodes[w.r.IntN(len(w.nodes))]
					if other.name != n.name {
						other.call()
						glare++
					}
				}
			case 3, 4, 5:
				n.takeAny()
			case 6:
				if len(n.s.Calls) > 0 {
					n.step(Hangup{ID: n.s.Calls[0].ID})
				}
			case 7:
				if w.r.IntN(4) == 0 {
					n.crash()
				} else {
					w.breaks(idOf(w.calls))
				}
			}
			w.run(w.now + time.Duration(w.r.IntN(3000))*time.Millisecond)
		}
		w.run(w.now + 5*time.Minute)
		if err := w.settled(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, n := range w.nodes {
			for range n.s.Calls {
				connected++
			}
		}
	}
	if connected == 0 || glare == 0 {
		t.Fatalf("nothing was tried: %d connected, %d at once", connected, glare)
	}
	t.Logf("%d ends of calls stand, %d were begun at once", connected, glare)
}

// On a reliable network, two users that call each other at once are connected by the call
// with the smaller id, on both sides.
func TestGlareConnects(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 0, 1, 1)
		first := w.nodes[0].call()
		w.run(w.now + time.Duration(w.r.IntN(20))*time.Millisecond)
		second := w.nodes[1].call()
		w.run(w.now + 10*time.Second)
		if err := w.settled(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, n := range w.nodes {
			if c := n.s.Find(first); c == nil || c.Phase != Connected || n.s.Find(second) != nil {
				t.Fatalf("seed %d: device %d: %+v", seed, i, n.s.Calls)
			}
			if c := n.s.Find(first); c.Out != (i == 0) {
				t.Fatalf("seed %d: who called", seed)
			}
		}
	}
}

// All devices of the callee ring; one answers, and the others stop.
func TestAnotherDeviceAnswers(t *testing.T) {
	w := newWorld(t, 1, 0, 1, 3)
	id := w.nodes[0].call()
	w.run(w.now + 2*time.Second)
	for _, n := range w.nodes[1:] {
		if c := n.s.Find(id); c == nil || c.Phase != Ringing {
			t.Fatalf("%+v does not ring", n.device)
		}
	}
	w.nodes[2].takeAny()
	w.run(w.now + 5*time.Second)
	for _, i := range []int{1, 3} {
		if got := w.nodes[i].ends[id]; got != local.CallAnsweredElsewhere {
			t.Errorf("device %d: %q", i, got)
		}
	}
	if err := w.settled(); err != nil || w.nodes[2].s.Find(id) == nil {
		t.Fatal("the call does not stand", err)
	}
}

// How a call ends, on both sides.
func TestEnds(t *testing.T) {
	for _, tc := range []struct {
		name        string
		do          func(w *world, a, b *node, id ID)
		wait        time.Duration
		alice, bob  string
		accept, two bool
	}{
		{"declined", func(_ *world, _, b *node, id ID) { b.step(Hangup{ID: id}) }, time.Second, local.CallDeclined, local.CallDeclined, false, false},
		{"cancelled", func(_ *world, a, _ *node, id ID) { a.step(Hangup{ID: id}) }, time.Second, local.CallCancelled, local.CallCancelled, false, false},
		{"no answer", func(*world, *node, *node, ID) {}, 2 * time.Minute, local.CallNoAnswer, local.CallNoAnswer, false, false},
		{"hung up by the caller", func(_ *world, a, _ *node, id ID) { a.step(Hangup{ID: id}) }, time.Second, local.CallHangup, local.CallHangup, true, false},
		{"hung up by the callee", func(_ *world, _, b *node, id ID) { b.step(Hangup{ID: id}) }, time.Second, local.CallHangup, local.CallHangup, true, false},
		{"the callee's daemon is killed", func(_ *world, _, b *node, _ ID) { b.crash() }, time.Minute, local.CallHangup, "", true, false},
		{"the caller's daemon is killed", func(_ *world, a, _ *node, _ ID) { a.crash() }, time.Minute, "", local.CallHangup, true, false},
		{"the caller's daemon is killed while it rings", func(_ *world, a, _ *node, _ ID) { a.crash() }, time.Minute, "", local.CallCancelled, false, false},
		{"the caller's daemon stops", func(_ *world, a, _ *node, _ ID) { a.step(Shutdown{}) }, time.Second, local.CallDaemonRestart, local.CallHangup, true, false},
		{"the caller's device is suspended", func(_ *world, a, _ *node, _ ID) { a.step(Suspend{}) }, time.Second, local.CallDaemonRestart, local.CallHangup, true, false},
		{"the peer's key changes while it rings", func(_ *world, _, b *node, _ ID) { b.step(KeyChanged{Peer: account("alice@x")}) }, time.Second, "", local.CallIdentity, false, false},
		{"the caller sees the key change", func(_ *world, a, _ *node, id ID) { a.step(Unsendable{ID: id, Identity: true}) }, time.Second, local.CallIdentity, "", false, false},
		{"both vanish from each other", func(w *world, _, _ *node, id ID) { w.loss = 1; w.breaks(id) }, 2 * time.Minute, local.CallFailed, local.CallFailed, true, false},
		{"another certificate", func(_ *world, a, _ *node, id ID) { a.step(MediaDown{ID: id, Lost: true, Identity: true}) }, time.Second, local.CallIdentity, local.CallIdentity, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 2, 0, 1, 1)
			a, b := w.nodes[0], w.nodes[1]
			id := a.call()
			w.run(w.now + time.Second)
			if tc.accept {
				b.takeAny()
				w.run(w.now + 2*time.Second)
				if c := b.s.Find(id); c == nil || c.Phase != Connected {
					t.Fatal("not connected")
				}
			}
			tc.do(w, a, b, id)
			w.run(w.now + tc.wait)
			if a.ends[id] != tc.alice || b.ends[id] != tc.bob {
				t.Errorf("ends %q and %q, want %q and %q", a.ends[id], b.ends[id], tc.alice, tc.bob)
			}
		})
	}
}

// A lost path is replaced, whichever side loses it, even over a lossy network.
func TestPathIsFoundAgain(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 0, 1, 1)
		id := w.nodes[0].call()
		w.run(w.now + time.Second)
		w.nodes[1].takeAny()
		w.run(w.now + 2*time.Second)
		w.loss = 0.2
		for range 3 {
			w.breaks(id)
			w.run(w.now + 40*time.Second)
			for i, n := range w.nodes {
				if c := n.s.Find(id); c == nil || c.Phase != Connected {
					t.Fatalf("seed %d, device %d: %v, ended %q", seed, i, n.s.Calls, n.ends[id])
				}
			}
		}
	}
}

// A device in a call answers another offer with busy. If the peer has no other device, the
// caller learns that.
func TestBusy(t *testing.T) {
	w := newWorld(t, 3, 0, 2, 1)
	first := w.nodes[0].call()
	w.run(w.now + time.Second)
	w.nodes[2].takeAny()
	w.run(w.now + 2*time.Second)
	second := w.nodes[1].call()
	w.run(w.now + 2*time.Second)
	if got := w.nodes[1].ends[second]; got != local.CallBusy {
		t.Errorf("the second call ended %q", got)
	}
	if c := w.nodes[2].s.Find(first); c == nil || c.Phase != Connected {
		t.Error("the first call does not stand")
	}
}

// Nobody is online: the caller learns that from the relay's answers.
func TestOffline(t *testing.T) {
	w := newWorld(t, 4, 1, 1, 2)
	a := w.nodes[0]
	id := a.call()
	w.run(w.now + 100*time.Millisecond)
	a.step(Undelivered{ID: id, Device: deviceOf(2), Gone: true})
	if a.s.Find(id) == nil {
		t.Fatal("the call ended while a device may ring")
	}
	a.step(Undelivered{ID: id, Device: deviceOf(3), Gone: true})
	if a.ends[id] != local.CallOffline {
		t.Errorf("ended %q", a.ends[id])
	}
}
