package account

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	p := newPatience(time.Minute)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if d := p.refused(time.Second); d != want*time.Minute {
			t.Fatalf("waits %s, want %s", d, want*time.Minute)
		}
	}
	if d := p.refused(2 * time.Hour); d != time.Minute {
		t.Errorf("waits %s after a connection that lasted", d)
	}
	at := time.Unix(1, 0)
	p = newPatience(time.Minute)
	for i, step := range []struct{ after, want time.Duration }{
		{0, 0}, {time.Minute, time.Minute}, {time.Minute, 2 * time.Minute}, {2 * time.Hour, 0},
	} {
		at = at.Add(step.after)
		if d := p.replaced(at); d != step.want {
			t.Errorf("replacement %d waits %s, want %s", i, d, step.want)
		}
	}
}
