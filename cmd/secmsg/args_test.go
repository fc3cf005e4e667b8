package main

import (
	"testing"
	"time"

	"secmsg/rpc/local"
)

func TestTimeArguments(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		f    func(string) (string, error)
		name string
		in   string
		want string // "!" is an error
	}{
		{sinceOf(now), "since", "", ""},
		{sinceOf(now), "since", "0", "0"},
		{sinceOf(now), "since", "41", "41"},
		{sinceOf(now), "since", "10m", "2026-03-04T03:56:07Z"},
		{sinceOf(now), "since", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
		{sinceOf(now), "since", "0198c0de-0000-7000-8000-000000000000", "0198c0de-0000-7000-8000-000000000000"},
		{sinceOf(now), "since", "-1", "!"},
		{sinceOf(now), "since", "+5", "!"},
		{timeOf(now), "time", "", ""},
		{timeOf(now), "time", "1h", "2026-03-04T03:06:07Z"},
		{timeOf(now), "time", "2026-01-01T01:00:00.5+01:00", "2026-01-01T00:00:00.5Z"},
		{timeOf(now), "time", "-1h", "!"},
		{timeOf(now), "time", "yesterday", "!"},
		{timeOf(now), "time", "7", "!"},
	} {
		got, err := c.f(c.in)
		if c.want == "!" {
			if !isCode(err, local.CodeUsage) {
				t.Errorf("%s %q = %q, %v; want a usage error", c.name, c.in, got, err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s %q = %q, %v; want %q", c.name, c.in, got, err, c.want)
		}
	}
}

func sinceOf(now time.Time) func(string) (string, error) {
	return func(s string) (string, error) { return sinceArg(s, now) }
}

func timeOf(now time.Time) func(string) (string, error) {
	return func(s string) (string, error) { return timeArg("--since", s, now) }
}
