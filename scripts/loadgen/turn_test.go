package loadgen_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"secmsg/scripts/loadgen"
	"secmsg/serverd/limit"
	"secmsg/serverd/media"
)

const turnSecret = "of the test"

// mediaServer is our server with limits that no measurement reaches.
func mediaServer(t testing.TB) string {
	t.Helper()
	s, err := media.New(media.Options{
		Realm: "bench.example.com", Secret: []byte(turnSecret), Listen: "127.0.0.1:0", Loopback: true,
		Limits: media.Limits{Allocations: 1000, Bandwidth: 1 << 40, Requests: limit.Rate{Burst: 1 << 20, Every: time.Microsecond}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Addr().String()
}

func coturnServer(t testing.TB) string {
	t.Helper()
	c, err := loadgen.StartCoturn(t.Context(), "bench.example.com", turnSecret)
	if errors.Is(err, loadgen.ErrNoCoturn) {
		t.Skip("SKIPPED: no turnserver on this machine (Debian: apt install coturn)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.Addr
}

func turnLoad(server string, d time.Duration) loadgen.TurnLoad {
	return loadgen.TurnLoad{
		Server: server, Pairs: 4, Window: 16, Size: 1000, Duration: d,
		Credentials: func(int) (string, string) {
			username, password, _ := media.Mint([]byte(turnSecret), "bench", time.Now(), time.Minute)
			return username, password
		},
	}
}

// The load passes through either server, and fails at one that refuses it.
func TestTurnLoad(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{"own": mediaServer, "coturn": coturnServer} {
		t.Run(name, func(t *testing.T) {
			l := turnLoad(start(t), 100*time.Millisecond)
			res, err := l.Run(t.Context())
			if err != nil || res.Relayed < 100 || res.P50 <= 0 || res.P99 < res.P50 || res.PerSecond() <= 0 {
				t.Errorf("%+v %v", res, err)
			}
			l.Credentials = func(int) (string, string) { return "1:bench:0", "wrong" }
			if _, err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("let in: %v", err)
			}
		})
	}
	if _, err := (loadgen.TurnLoad{}).Run(t.Context()); err == nil {
		t.Error("an empty load runs")
	}
}

// BenchmarkTurn relays packets of 1000 bytes through our server and through coturn; in both, client and
// peers use part of the CPU.
func BenchmarkTurn(b *testing.B) {
	for _, s := range []struct {
		name  string
		start func(testing.TB) string
	}{{"own", mediaServer}, {"coturn", coturnServer}} {
		b.Run(s.name, func(b *testing.B) {
			l := turnLoad(s.start(b), 2*time.Second)
			for b.Loop() {
				res, err := l.Run(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(res.PerSecond(), "packets/s")
				b.ReportMetric(float64(res.P50.Microseconds()), "p50-µs")
				b.ReportMetric(float64(res.P99.Microseconds()), "p99-µs")
				b.ReportMetric(float64(res.Lost), "lost")
			}
		})
	}
}
