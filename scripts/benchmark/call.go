package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
	"secmsg/scripts/loadgen"
	"secmsg/serverd/media"
)

const (
	// callLimit bounds this part: three calls of callLength, and several short ones.
	callLimit = 5 * time.Minute
	// callLength is how long the CPU use of a call is measured.
	callLength = 20 * time.Second
	// callSettle is how long a call runs before the measurement: encoders start, and congestion control
	// searches for the rate.
	callSettle = 3 * time.Second
	// callTries is how often the time to connect a call is measured.
	callTries = 5
	// callGoal is the goal for a media server's packet rate relative to coturn's.
	callGoal = 1.0
	// callPairs, callWindow and callPacket are the load of the media servers: enough streams to keep
	// both busy, with packets of the size of video.
	callPairs, callWindow, callPacket = 8, 16, 1000
	// callSecret is shared by the server, coturn and the load generator.
	callSecret = "of the benchmark"
)

// runCall measures calls between two daemons, and the media server by itself.
func runCall(ctx context.Context, b *bench) (err error) {
	dir, err := os.MkdirTemp("", "secmsg-bench-call-")
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cb := &callBench{bench: b}
	if b.opt.built {
		if bin, err := lab.BuildCgo(ctx, b.opt.tree, dir); err == nil {
			own := *b
			own.opt.binary, cb.bench, cb.encodes = bin, &own, true
		} else {
			b.notef("480p and 720p are LEFT OUT: no build with encoders: %v", err)
		}
	} else if cb.encodes, err = hasCgo(b.opt.binary); err != nil {
		return err
	} else if !cb.encodes {
		b.notef("480p and 720p are LEFT OUT: %s has no encoders", b.opt.binary)
	}
	p, err := cb.newPair(ctx)
	if err != nil {
		return err
	}
	cb.pair = p
	for _, step := range []func(context.Context) error{cb.connecting, cb.processors} {
		if err := step(ctx); err != nil {
			b.notef("%s", p.world.Logs(2000))
			return errors.Join(err, p.close())
		}
	}
	if err := p.close(); err != nil {
		return err
	}
	return cb.relaying(ctx)
}

// hasCgo reports whether a binary was built with cgo and therefore has encoders.
func hasCgo(binary string) (bool, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return false, fmt.Errorf("call: %w", err)
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"}), nil
}

// callBench is a caller, alice, and bob, who answers.
type callBench struct {
	*bench
	*pair
	encodes bool // the program has video encoders
}

// callUp is the result of one call.
type callUp struct {
	took time.Duration // from the request to the first event that says connected
	end  local.Call
}

// call makes one call. during runs while it is connected.
func (b *callBench) call(ctx context.Context, m local.CallMedia, during func(context.Context) error) (callUp, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := b.bob.AnswerCall(ctx, local.CallAnswerParams{Auto: true, From: []string{"alice"}, CallMedia: m}, local.CallStreams{}, nil)
		answered <- err
	}()
	var up callUp
	connected := make(chan string, 1)
	type ended struct {
		call local.Call
		err  error
	}
	done := make(chan ended, 1)
	start := time.Now()
	go func() {
		c, err := b.alice.StartCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: m}, local.CallStreams{}, func(e local.Event) {
			if e.Call.State == local.CallConnected {
				select {
				case connected <- e.Call.ID:
				default:
				}
			}
		})
		done <- ended{c, err}
	}()
	select {
	case id := <-connected:
		up.took = time.Since(start)
		err := during(ctx)
		if _, hung := b.alice.HangupCall(ctx, local.CallIDParams{ID: id}); err == nil {
			err = hung
		}
		if err != nil {
			return up, err
		}
	case e := <-done:
		return up, fmt.Errorf("the call ended before it was connected: %+v, %w", e.call, e.err)
	case <-ctx.Done():
		return up, context.Cause(ctx)
	}
	e := <-done
	if err := errors.Join(e.err, <-answered); err != nil {
		return up, err
	}
	if e.call.Stats == nil {
		return up, errors.New("the call ended without statistics")
	}
	up.end = e.call
	return up, nil
}

// connecting measures the time from start to connected. Bob's daemon answers automatically.
func (b *callBench) connecting(ctx context.Context) error {
	for _, way := range []struct {
		pair  string
		relay bool
	}{{"direct", false}, {"relayed", true}} {
		var all []time.Duration
		for range callTries {
			up, err := b.call(ctx, local.CallMedia{AudioIn: "test", AudioOut: "null", RelayOnly: way.relay}, func(ctx context.Context) error {
				return wait(ctx, 100*time.Millisecond)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", way.pair, err)
			}
			if up.end.Stats.Pair != way.pair {
				return fmt.Errorf("%s: the call was %s", way.pair, up.end.Stats.Pair)
			}
			all = append(all, up.took)
		}
		slices.Sort(all)
		b.out.figure("from start to connected, "+way.pair, milliseconds(all[len(all)/2]), "ms", 0, false)
	}
	return nil
}

// processors measures the CPU use of a call in each daemon, which encodes and decodes.
func (b *callBench) processors(ctx context.Context) error {
	alice, bob, _, err := b.pids()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name  string
		media local.CallMedia
	}{
		{"sound", local.CallMedia{AudioIn: "test", AudioOut: "null"}},
		{"480p", local.CallMedia{AudioIn: "test", AudioOut: "null", VideoIn: "test", VideoOut: "null", VideoSize: "640x480"}},
		{"720p", local.CallMedia{AudioIn: "test", AudioOut: "null", VideoIn: "test", VideoOut: "null", VideoSize: "1280x720"}},
	} {
		if c.media.VideoIn != "" && !b.encodes {
			continue
		}
		var used [2]time.Duration
		up, err := b.call(ctx, c.media, func(ctx context.Context) error {
			if err := wait(ctx, callSettle); err != nil {
				return err
			}
			for i, pid := range []int{alice, bob} {
				before, err := lab.CPU(pid)
				if err != nil {
					return err
				}
				used[i] = -before
			}
			if err := wait(ctx, callLength); err != nil {
				return err
			}
			for i, pid := range []int{alice, bob} {
				after, err := lab.CPU(pid)
				if err != nil {
					return err
				}
				used[i] += after
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for i, user := range []string{"caller", "callee"} {
			b.out.figure(fmt.Sprintf("CPU of the %s's daemon, %s", user, c.name), 100*used[i].Seconds()/callLength.Seconds(), "%", 0, false)
		}
		if v := up.end.Stats.VideoIn; v != nil && up.end.Duration > 0 {
			b.out.figure("pictures received, "+c.name, float64(v.Frames)/up.end.Duration, "/s", 0, true)
			b.out.figure("rate of pictures, "+c.name, float64(v.BitRate)/1000, "kbit/s", 0, true)
		}
	}
	return nil
}

// relaying loads our server's relay and coturn, one after the other.
func (b *callBench) relaying(ctx context.Context) (err error) {
	at, err := lab.FreeAddress()
	if err != nil {
		return err
	}
	w, err := lab.New(ctx, lab.Options{Binary: b.opt.binary, ServerEnv: append(lab.RaisedLimits(),
		"SECMSG_MEDIA_LISTEN="+at, "SECMSG_TURN_SECRET="+callSecret, "SECMSG_LIMITS_TURN_ALLOCATIONS=1000",
		"SECMSG_LIMITS_TURN_BANDWIDTH=100GiB", "SECMSG_LIMITS_TURN_REQUESTS_BURST=1000000")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	own, ownCPU, err := b.relayed(ctx, at, w.Server().PID())
	if err != nil {
		return fmt.Errorf("our relay: %w", err)
	}
	c, err := loadgen.StartCoturn(ctx, "localhost", callSecret)
	if errors.Is(err, loadgen.ErrNoCoturn) {
		b.notef("coturn is LEFT OUT: %v", err)
		b.out.figure("relayed packets", own.PerSecond(), "/s", 0, true)
		b.out.figure("server CPU of a relayed packet", microseconds(ownCPU), "us", 0, false)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	other, otherCPU, err := b.relayed(ctx, c.Addr, c.Pid)
	if err != nil {
		return fmt.Errorf("coturn: %w", err)
	}
	const against = "coturn"
	b.out.compared("relayed packets", own.PerSecond(), "/s", against, other.PerSecond(), callGoal, true)
	b.out.compared("server CPU of a relayed packet", microseconds(ownCPU), "us", against, microseconds(otherCPU), callGoal, false)
	b.out.compared("round trip through the relay p50", milliseconds(own.P50), "ms", against, milliseconds(other.P50), 0, false)
	b.out.compared("round trip through the relay p99", milliseconds(own.P99), "ms", against, milliseconds(other.P99), 0, false)
	return nil
}

// relayed loads one media server and returns the CPU time per packet.
func (b *callBench) relayed(ctx context.Context, at string, pid int) (loadgen.TurnResult, time.Duration, error) {
	l := loadgen.TurnLoad{Server: at, Pairs: callPairs, Window: callWindow, Size: callPacket, Duration: b.opt.duration,
		Credentials: func(n int) (string, string) {
			username, password, _ := media.Mint([]byte(callSecret), fmt.Sprintf("bench%d", n), time.Now(), time.Minute)
			return username, password
		}}
	before, err := lab.CPU(pid)
	if err != nil {
		return loadgen.TurnResult{}, 0, err
	}
	res, err := l.Run(ctx)
	if err != nil {
		return res, 0, err
	}
	after, err := lab.CPU(pid)
	if err != nil {
		return res, 0, err
	}
	return res, (after - before) / time.Duration(max(res.Relayed, 1)), nil
}
