package stats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"secmsg/serverd/stats"
)

func TestHealth(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := stats.New(func() time.Time { return now })
	runs, broken := 0, false
	r.Check("store", func(context.Context) error {
		runs++
		if broken {
			return errors.New("full")
		}
		return nil
	})
	r.Check("other", func(context.Context) error { return nil })
	if err := r.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	broken = true
	if err := r.Healthy(t.Context()); err != nil || runs != 1 {
		t.Errorf("the checks ran for each question: %d %v", runs, err)
	}
	now = now.Add(time.Second)
	if err := r.Healthy(t.Context()); !errors.Is(err, stats.ErrUnhealthy) {
		t.Errorf("got %v", err)
	}
	if res := r.Health(t.Context()); len(res) != 2 || res[0].Err == nil || res[1].Err != nil {
		t.Errorf("%+v", res)
	}
	// A caller that disconnects does not affect the result for others.
	now, broken = now.Add(time.Second), false
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Healthy(ctx); err != nil {
		t.Error(err)
	}
}

func TestSnapshot(t *testing.T) {
	r := stats.New(time.Now)
	n := int64(1)
	r.Counters("api", func() map[string]int64 { return map[string]int64{"answers": n} })
	r.Warnings(func() []string { return nil })
	if p := r.Problems(); p == nil || len(p) != 0 {
		t.Errorf("%v", p)
	}
	r.Warnings(func() []string { return []string{"soon"} })
	n = 2
	if s := r.Snapshot(); s["api"]["answers"] != 2 {
		t.Errorf("%v", s)
	}
	if p := r.Problems(); len(p) != 1 || p[0] != "soon" {
		t.Errorf("%v", p)
	}
}
