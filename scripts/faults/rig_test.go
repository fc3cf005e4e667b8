//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
	"secmsg/scripts/soaktest/ledger"
)

const (
	// settleTime bounds every wait for an expected event. It is not a promise: a test that fails
	// because of it has waited for something that does not happen, however busy the machine is.
	settleTime = 2 * time.Minute
	// patience is the --timeout of sends that are waited for.
	patience = "100s"
	// sendAttempts is how often a script tries to send one message with its key.
	sendAttempts = 200
	// everything is a --limit that no test reaches.
	everything = 100_000
	// binaryEnv names the binary that TestMain built, for the tests of this process.
	binaryEnv = "SECMSG_FAULTS_BINARY"
)

// parallelTests is how many tests run at the same time.
const parallelTests = 5

// pingEvery is the interval of pings on both sides, unless a test sets another.
const pingEvery = 1500 * time.Millisecond

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if err := lab.ParallelTests(parallelTests); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "secmsg-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if os.Getenv(binaryEnv) == "" {
		bin, err := lab.BuildForTests(context.Background(), dir)
		if err == nil {
			err = os.Setenv(binaryEnv, bin)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// seed determines all choices of a test.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SECMSG_FAULTS_SEED")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// options are the differences between the worlds of the tests.
type options struct {
	serverEnv, clientEnv []string
	tcp, frames          bool // proxies between clients and server
	shallow              bool // the tcp proxy keeps next to nothing
	dir                  string
	alone                bool // no accounts
}

// rig is a world with alice and bob, who are mutual contacts, and a ledger.
type rig struct {
	t     *testing.T
	w     *lab.World
	tcp   *lab.TCPProxy
	frame *lab.FrameProxy
	rec   *ledger.Recorder
	rng   *rand.Rand
}

// clientEnv makes daemons detect failures and retry quickly.
func clientEnv() []string {
	return []string{"SECMSG_INTERVALS_RETRY=2s", "SECMSG_INTERVALS_RECONNECT_MIN=50ms", "SECMSG_INTERVALS_RECONNECT_MAX=1s",
		"SECMSG_INTERVALS_PING=" + pingEvery.String(), "SECMSG_INTERVALS_RECEIPT_DELAY=20ms"}
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes under faults")
	}
	r := &rig{t: t, rec: ledger.NewRecorder(seed(t), o.frames), rng: lab.NewRand(seed(t), t.Name())}
	lo := lab.Options{Binary: os.Getenv(binaryEnv), Dir: o.dir,
		ServerEnv: append(append(lab.RaisedLimits(), "SECMSG_LIMITS_PING="+pingEvery.String()), o.serverEnv...),
		ClientEnv: append(clientEnv(), o.clientEnv...)}
	target := ""
	if o.tcp || o.frames {
		lo.Entry = r.free()
		target = lo.Entry
	}
	var err error
	if r.w, err = lab.New(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	upstream := r.w.Listen()
	if o.frames {
		at := target
		if o.tcp {
			at = r.free()
		}
		if r.frame, err = lab.NewFrameProxy(r.w.ServerDir(), at, upstream); err != nil {
			t.Fatal(err)
		}
		upstream = at
	}
	if o.tcp {
		if r.tcp, err = lab.NewTCPProxy(target, upstream, seed(t)); err != nil {
			t.Fatal(err)
		}
		if o.shallow {
			r.tcp.Shallow()
		}
	}
	if o.alone {
		return r
	}
	for _, user := range []string{"alice", "bob"} {
		r.check(r.w.Join(t.Context(), user))
	}
	r.check(r.w.Befriend(t.Context(), "alice", "bob"))
	return r
}

func (r *rig) free() string {
	a, err := lab.FreeAddress()
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) close() {
	if r.t.Failed() {
		r.t.Logf("seed %d\n%s", r.rec.Ledger().Seed, r.w.Logs(3000))
	}
	if err := r.w.Close(); err != nil {
		r.t.Error(err)
	}
	if r.tcp != nil {
		if err := r.tcp.Close(); err != nil {
			r.t.Error(err)
		}
	}
	if r.frame != nil {
		if err := r.frame.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// eventually polls until cond holds.
func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), settleTime)
	defer cancel()
	r.check(lab.Poll(ctx, what, cond))
}

// pause lets faults last; it is not used to wait for anything.
func (r *rig) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.t.Context().Done():
	}
}

// until waits until a user's history contains a message with the text.
func (r *rig) until(user, peer, text string) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s has %q", user, text), func() bool { return strings.Contains(r.history(user, peer), text) })
}

func (r *rig) history(user, peer string) string {
	r.t.Helper()
	out, err := r.w.Must(r.t.Context(), user, "", "history", peer, "-n", fmt.Sprint(everything), "-o", "json")
	r.check(err)
	return out
}

// run runs a command of a user and returns its result, whatever it is.
func (r *rig) run(user, stdin string, args ...string) lab.Result {
	r.t.Helper()
	res, err := r.w.Run(r.t.Context(), user, stdin, args...)
	r.check(err)
	return res
}

// send sends with a key until there is an id, and records it.
func (r *rig) send(from, to, text string, args ...string) {
	r.t.Helper()
	s := ledger.Send{From: from, To: to, Text: text}
	args = append([]string{"send", to, "-o", "json", "--idempotency-key", "key " + short(text)}, args...)
	var last lab.Result
	for s.Attempts < sendAttempts && !s.Taken() {
		s.Attempts++
		last = r.run(from, text, args...)
		r.results(from, last.Stdout, &s)
	}
	r.rec.Sent(s)
	if !s.Taken() {
		r.t.Fatalf("no id for %q: exit %d\n%s", short(text), last.Code, last.Stderr)
	}
}

// short is the part of a text that distinguishes it from all others of a test.
func short(text string) string {
	const most = 60
	return text[:min(len(text), most)]
}

// try sends once, without a key, and records what it printed.
func (r *rig) try(from, to, text string, args ...string) lab.Result {
	r.t.Helper()
	s := ledger.Send{From: from, To: to, Text: text, Attempts: 1}
	res := r.run(from, text, append([]string{"send", to, "-o", "json"}, args...)...)
	r.results(from, res.Stdout, &s)
	r.rec.Sent(s)
	return res
}

// results records the ids and states that a send printed.
func (r *rig) results(from, out string, s *ledger.Send) {
	for line := range strings.Lines(out) {
		var one local.SendResult
		if json.Unmarshal([]byte(line), &one) != nil || one.ID == "" {
			continue
		}
		s.IDs = append(s.IDs, one.ID)
		r.rec.Told(ledger.State{User: from, Source: "send", ID: one.ID, State: one.State})
	}
}

// settle waits until every taken message has arrived, adds the journals and histories, and judges.
func (r *rig) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), settleTime)
	defer cancel()
	_ = lab.Poll(ctx, "all has arrived", func() bool { // the judge reports messages still missing then
		l := r.rec.Ledger()
		l.Finals = r.finals()
		for _, v := range ledger.Check(&l) {
			if v.Kind == ledger.Lost || v.Kind == ledger.Undecided {
				return false
			}
		}
		return true
	})
	r.rec.Ended(r.finals()...)
	for _, user := range []string{"alice", "bob"} {
		r.journal(user)
	}
	l := r.rec.Ledger()
	for _, v := range ledger.Check(&l) {
		r.t.Errorf("%s: %s", v.Kind, v.Detail)
	}
}

// journal records the messages and receipts in a user's journal. A stream has no end, so a slow machine
// gets more time until the newest message in history was shown.
func (r *rig) journal(user string) {
	r.t.Helper()
	newest := r.newest(user)
	var events []local.Event
	for wait := 300 * time.Millisecond; wait < settleTime/2; wait *= 2 {
		out, err := r.w.Must(r.t.Context(), user, "", "listen", "--since", "0", "--type", "message,receipt", "--timeout", wait.String(), "-o", "json")
		r.check(err)
		events, err = lab.DecodeEvents(out)
		r.check(err)
		if slices.ContainsFunc(events, func(e local.Event) bool { return int64(e.Seq) >= newest }) || newest == 0 {
			break
		}
	}
	for _, e := range events {
		switch {
		case e.Message != nil && e.Direction == local.DirectionIn:
			r.rec.Shown(ledger.Show{User: user, Consumer: "journal", Run: 1, Seq: e.Seq, ID: e.ID, Text: e.Message.Text})
		case e.Receipt != nil:
			r.rec.Told(ledger.State{User: user, Source: "journal", ID: e.Receipt.MessageID, State: e.Receipt.State})
		}
	}
}

// newest is the highest seq of a message that a user received, or 0.
func (r *rig) newest(user string) (seq int64) {
	r.t.Helper()
	peer := map[string]string{"alice": "bob", "bob": "alice"}[user]
	events, err := lab.DecodeEvents(r.history(user, peer))
	r.check(err)
	for _, e := range events {
		if e.Message != nil && e.Direction == local.DirectionIn {
			seq = max(seq, int64(e.Seq))
		}
	}
	return seq
}

// finals reads both histories.
func (r *rig) finals() []ledger.Final {
	r.t.Helper()
	var all []ledger.Final
	for _, ends := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
		events, err := lab.DecodeEvents(r.history(ends[0], ends[1]))
		r.check(err)
		for _, e := range events {
			if e.Message != nil {
				all = append(all, ledger.Final{User: ends[0], Peer: ends[1], Direction: e.Direction, ID: e.ID, Text: e.Message.Text, State: e.Message.State})
			}
		}
	}
	return all
}

// account returns the state of a user's only account.
func (r *rig) account(user string) local.AccountStatus {
	r.t.Helper()
	st, err := r.w.Status(r.t.Context(), user)
	r.check(err)
	if len(st.Accounts) != 1 {
		r.t.Fatalf("%s has the accounts %+v", user, st.Accounts)
	}
	return st.Accounts[0]
}

func (r *rig) connected(users ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), settleTime)
	defer cancel()
	for _, u := range users {
		r.check(r.w.WaitConnected(ctx, u))
	}
}

// stop stops daemons cleanly.
func (r *rig) stop(users ...string) {
	r.t.Helper()
	for _, u := range users {
		r.check(r.w.StopDaemon(r.t.Context(), u))
	}
}

// start runs daemons and waits until they are connected.
func (r *rig) start(users ...string) {
	r.t.Helper()
	for _, u := range users {
		_, err := r.w.StartDaemon(r.t.Context(), u)
		r.check(err)
	}
	r.connected(users...)
}

// noPanic fails if a log contains a panic.
func (r *rig) noPanic() {
	r.t.Helper()
	if logs := r.w.Logs(1 << 20); strings.Contains(logs, "panic:") || strings.Contains(logs, "goroutine 1 [") {
		r.t.Errorf("a process panicked:\n%s", logs)
	}
}
