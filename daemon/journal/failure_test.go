package journal

import (
	"testing"
	"time"

	"secmsg/rpc/local"
)

func (r *rig) fail(consumer, id string) local.Failed {
	r.t.Helper()
	out, err := r.j.Fail(r.t.Context(), local.FailParams{Consumer: consumer, ID: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// An event that its handler never accepts blocks later events only for the number of
// attempts and the time set for the consumer. Both settings are stored with the consumer.
func TestFailuresEndWhenTheUserSaid(t *testing.T) {
	r := newRig(t)
	two, none := 2, 0
	for name, p := range map[string]local.SubscribeParams{
		"twice":   {Retry: &two},
		"never":   {Retry: &none},
		"at once": {DeadLetterAfter: 0.001},
		"default": {},
	} {
		p.Consumer, p.Since = name, "0"
		r.subscribe(p).Close()
		r.subscribe(local.SubscribeParams{Consumer: name}).Close() // no settings, no change
	}
	r.append(text("bad"), text("good"))
	for range 2 {
		if out := r.fail("twice", "bad"); out.Dead || out.RetryAfter <= 0 {
			t.Errorf("twice: %+v", out)
		}
	}
	if out := r.fail("twice", "bad"); !out.Dead || out.Attempts != 3 {
		t.Errorf("twice: %+v", out)
	}
	if out := r.fail("never", "bad"); !out.Dead {
		t.Errorf("never: %+v", out)
	}
	if out := r.fail("at once", "bad"); !out.Dead && out.RetryAfter > 0.001 {
		t.Errorf("at once: it waits for %v", out.RetryAfter)
	}
	for deadline := time.Now().Add(20 * time.Second); r.consumer("at once").Cursor == 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond) // profile time has to advance
		r.fail("at once", "bad")
	}
	out := local.Failed{}
	for n := 1; n <= local.DefaultRetry; n++ {
		if out = r.fail("default", "bad"); out.Dead {
			t.Fatalf("default: dead after %d", n)
		}
	}
	if out = r.fail("default", "bad"); !out.Dead {
		t.Errorf("default: %+v", out)
	}
	for _, want := range []struct {
		name  string
		retry int
		after float64
	}{{"twice", 2, 3600}, {"never", 0, 3600}, {"at once", local.DefaultRetry, 0.001}, {"default", local.DefaultRetry, 3600}} {
		c := r.consumer(want.name)
		if c.Retry != want.retry || c.DeadLetterAfter != want.after || c.DeadLetters != 1 || len(c.Dead) != 1 || c.Cursor != 1 {
			t.Errorf("%s: %+v", want.name, c)
		}
	}
}

// The delays are bounded by the remaining time: a limit of one minute is not exceeded by
// five.
func TestPausesEndWithTheTime(t *testing.T) {
	r := newRig(t)
	r.subscribe(local.SubscribeParams{Consumer: "bot", Since: "0", DeadLetterAfter: 5}).Close()
	r.append(text("bad"))
	for range 8 { // the next delay would be over two minutes
		if out := r.fail("bot", "bad"); out.RetryAfter > 5 {
			t.Errorf("%+v", out)
		}
	}
}

func TestBoundsOfFailures(t *testing.T) {
	r := newRig(t)
	one, negative, many := 1, -1, maxRetries+1
	for _, p := range []local.SubscribeParams{
		{Retry: &one}, {DeadLetterAfter: 1}, {Consumer: "a", Retry: &negative}, {Consumer: "a", Retry: &many},
		{Consumer: "a", DeadLetterAfter: -1}, {Consumer: "a", DeadLetterAfter: 1e12},
	} {
		if _, _, err := r.j.Subscribe(t.Context(), Filter{}, p); local.As(err).Code != local.CodeUsage {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
