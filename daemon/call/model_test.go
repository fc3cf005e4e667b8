package call

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
)

func idOf(n int) ID { return ID{15: byte(n)} }

// account returns the address of a name like "bob@x".
func account(name string) identity.Address {
	user, domain, _ := strings.Cut(name, "@")
	return identity.Address{User: user, Domain: domain}
}

func deviceOf(n int) key.DeviceID { return key.DeviceID{0: byte(n)} }
func print32(n int) []byte        { b := make([]byte, 32); b[0] = byte(n); return b }

func offerFor(id ID, n int) *e2e.Call {
	c := Call{ID: id, Audio: true, ring: time.Minute}
	c.Offer = Description{SDP: "offer", Fingerprint: print32(n)}
	return offerSignal(&c)
}

func answerFor(id ID, n int) *e2e.Call {
	c := Call{ID: id}
	c.Answer = Description{SDP: "answer", Fingerprint: print32(n)}
	return answerSignal(&c)
}

// anySignal returns a random signal that a peer can send.
func anySignal(r *rand.Rand, id ID) *e2e.Call {
	switch r.IntN(8) {
	case 0, 1:
		return offerFor(id, 1)
	case 2:
		return ringingSignal(id)
	case 3:
		return answerFor(id, 2)
	case 4:
		return candidatesSignal(&Call{ID: id, generation: uint32(r.IntN(3)), mine: []string{fmt.Sprint("candidate", r.IntN(100))}})
	case 5:
		return restartSignal(id, uint32(1+r.IntN(3)), "restart")
	case 6:
		return restartSignal(id, 0, "")
	}
	return endSignal(id, e2e.CallReason(1+r.IntN(9)))
}

// anyEvent returns a random event. It draws from few calls, peers and devices, so that
// events interact.
func anyEvent(r *rand.Rand, armed map[[17]byte]Expired) Event {
	id := idOf(1 + r.IntN(6))
	peer := account(fmt.Sprintf("peer%d@x", r.IntN(3)))
	d := deviceOf(1 + r.IntN(3))
	switch r.IntN(16) {
	case 0:
		return Start{ID: id, Peer: peer, Ring: time.Minute}
	case 1:
		return Accept{ID: id}
	case 2:
		return Hangup{ID: id}
	case 3:
		return Sent{ID: id, Devices: []key.DeviceID{deviceOf(1), deviceOf(2)}}
	case 4:
		return Undelivered{ID: id, Device: d, Gone: r.IntN(2) == 0, Denied: r.IntN(8) == 0}
	case 5:
		return Unsendable{ID: id, Identity: r.IntN(4) == 0}
	case 6:
		for _, e := range armed { // the order of a map is random enough
			return e
		}
		return Expired{ID: id, Timer: Timer(r.IntN(7)), Serial: uint64(r.IntN(4))}
	case 7:
		switch r.IntN(8) {
		case 0:
			return KeyChanged{Peer: peer}
		case 1:
			return Unwanted{Peer: peer}
		case 2:
			switch r.IntN(16) {
			case 0, 1:
				return Shutdown{}
			case 2:
				return Suspend{}
			}
		}
		return NetworkChanged{}
	case 8, 9:
		return Described{ID: id, SDP: "own", Fingerprint: print32(3)}
	case 10:
		switch r.IntN(3) {
		case 0:
			return Restarted{ID: id, Generation: uint32(r.IntN(3)), SDP: "restarted"}
		case 1:
			return Candidate{ID: id, Generation: uint32(r.IntN(3)), Candidate: fmt.Sprint("mine", r.IntN(100))}
		}
		return MediaDown{ID: id, Lost: r.IntN(2) == 0, Identity: r.IntN(6) == 0, Closed: r.IntN(6) == 0}
	case 11:
		return MediaUp{ID: id}
	}
	return Signal{Peer: peer, Device: d, Call: anySignal(r, id)}
}

// observer checks the invariants after every step.
type observer struct {
	t        *testing.T
	accepted map[ID]bool           // the local user has accepted
	armed    map[[17]byte]Expired  // running timers, by call and name
	due      map[[17]byte]deadline // and when they expire
	now      time.Duration
	ended    map[ID]int
}

type deadline struct{ at time.Duration }

func newObserver(t *testing.T) *observer {
	return &observer{t: t, accepted: map[ID]bool{}, armed: map[[17]byte]Expired{}, due: map[[17]byte]deadline{}, ended: map[ID]int{}}
}

// mediaOf returns the call whose media an effect starts or reveals.
func mediaOf(f Effect) (ID, bool) {
	switch f := f.(type) {
	case MakeOffer:
		return f.ID, true
	case MakeAnswer:
		return f.ID, true
	case TakeAnswer:
		return f.ID, true
	case SetKeys:
		return f.ID, true
	case AddCandidates:
		return f.ID, true
	case MakeRestart:
		return f.ID, true
	case AnswerRestart:
		return f.ID, true
	case TakeRestart:
		return f.ID, true
	case Send:
		// Signals that let media flow or reveal an address count, too.
		return f.ID, f.Call.GetOffer() != nil || f.Call.GetAnswer() != nil || f.Call.GetCandidates() != nil || f.Call.GetRestart() != nil
	}
	return ID{}, false
}

func (o *observer) step(s State, e Event) State {
	before := s.clone()
	next, effects := Next(s, e)
	if !reflect.DeepEqual(before, s.clone()) {
		o.t.Fatalf("%T changed the state that it was given", e)
	}
	again, same := Next(s, e)
	if !reflect.DeepEqual(next, again) || !reflect.DeepEqual(effects, same) {
		o.t.Fatalf("%T has two outcomes", e)
	}
	switch e := e.(type) {
	case Start:
		if before.Find(e.ID) == nil {
			o.accepted[e.ID] = true
		}
	case Accept:
		if before.Find(e.ID) != nil {
			o.accepted[e.ID] = true
		}
	case Expired:
		if o.armed[timerKey(e.ID, e.Timer)].Serial == e.Serial {
			delete(o.armed, timerKey(e.ID, e.Timer))
		}
	}
	for _, f := range effects {
		if id, touches := mediaOf(f); touches && !o.accepted[id] {
			o.t.Fatalf("%#v makes %#v before the user accepted", e, f)
		}
		switch f := f.(type) {
		case Adopt:
			if !o.accepted[f.From] {
				o.t.Fatalf("%#v takes a call for one that nobody wanted", f)
			}
			o.accepted[f.To] = true
		case StartTimer:
			if f.After <= 0 || f.After > e2e.MaxRing+ringGrace {
				o.t.Fatalf("a timer of %s", f.After)
			}
			o.armed[timerKey(f.ID, f.Timer)] = Expired{ID: f.ID, Timer: f.Timer, Serial: f.Serial}
			o.due[timerKey(f.ID, f.Timer)] = deadline{o.now + f.After}
		case Tell:
			if f.Reason != "" {
				o.ended[f.Call.ID]++
				delete(o.accepted, f.Call.ID)
				for t := range Timer(timers) {
					delete(o.armed, timerKey(f.Call.ID, t))
				}
			}
		}
	}
	o.check(next)
	return next
}

func timerKey(id ID, t Timer) (k [17]byte) {
	copy(k[:], id[:])
	k[16] = byte(t)
	return k
}

func (o *observer) check(s State) {
	active := 0
	if len(s.Calls) > maxRinging+1 || len(s.past) > maxPast {
		o.t.Fatalf("%d calls, %d past", len(s.Calls), len(s.past))
	}
	for _, c := range s.Calls {
		if c.Accepted {
			active++
		}
		if len(c.mine) > e2e.MaxCandidates || len(c.theirs) > maxRemote || len(c.targets) > maxTargets {
			o.t.Fatalf("call %x grows: %d, %d, %d", c.ID, len(c.mine), len(c.theirs), len(c.targets))
		}
		want := TimerRing
		switch c.Phase {
		case Connecting, Reconnecting:
			want = TimerConnect
		case Connected:
			continue
		}
		if e, ok := o.armed[timerKey(c.ID, want)]; !ok || e.Serial != c.timers[want] || c.timers[want] == 0 {
			o.t.Fatalf("call in %s has no timer that ends it", c.Phase)
		}
	}
	if active > 1 {
		o.t.Fatalf("%d calls are active", active)
	}
}

// drain advances time until nothing happens, and returns the final state.
func (o *observer) drain(s State) State {
	for range 10_000 {
		var first Expired
		at := time.Duration(-1)
		for k, e := range o.armed {
			if d := o.due[k].at; at < 0 || d < at {
				at, first = d, e
			}
		}
		if at < 0 {
			return s
		}
		o.now = max(o.now, at)
		s = o.step(s, first)
	}
	o.t.Fatal("the timers never end")
	return s
}

// Every event in every state (F3 in crypto/ATTACKS.md): no media flow, and nothing that
// lets them flow, before the local user accepts; one active call; every call has a timer
// that ends it, and ends once.
func TestRandomEvents(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 5))
		o := newObserver(t)
		var s State
		for range 150 {
			s = o.step(s, anyEvent(r, o.armed))
		}
		s = o.drain(s)
		for _, c := range s.Calls {
			if c.Phase != Connected {
				t.Fatalf("seed %d: a call stays %s for ever", seed, c.Phase)
			}
			s = o.step(s, MediaDown{ID: c.ID})
		}
		s = o.drain(s)
		if len(s.Calls) > 0 || len(o.accepted) > 0 && s.Active() != nil {
			t.Fatalf("seed %d: %d calls have not ended", seed, len(s.Calls))
		}
	}
}

// In each phase of an incoming call that was not accepted, no signal has an effect on
// media: the cases of the random test, one by one.
func TestSignalsBeforeAccept(t *testing.T) {
	id := idOf(3)
	for i := range 8 {
		for seed := range uint64(12) {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			o := newObserver(t)
			s := o.step(State{}, Signal{Peer: account("p@x"), Device: deviceOf(1), Call: offerFor(id, 1)})
			for range 6 {
				s = o.step(s, Signal{Peer: account("p@x"), Device: deviceOf(1), Call: anySignal(r, id)})
				s = o.step(s, MediaUp{ID: id})
				s = o.step(s, Described{ID: id, SDP: "x", Fingerprint: print32(1)})
				s = o.step(s, Candidate{ID: id, Candidate: "c"})
			}
			if a := s.Active(); a != nil {
				t.Fatal("a call was taken by signals alone")
			}
		}
	}
}
