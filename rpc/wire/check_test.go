package wire

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// A server's responses with numbers that a client cannot compute with are refused.
func TestAnswersAreBounded(t *testing.T) {
	for name, a := range map[string]Answer{
		"realm":     &Realm{TimeMS: MaxTime + 1},
		"nonce":     &Challenged{ExpiresMS: -1},
		"token":     &Token{ExpiresMS: math.MaxInt64},
		"token 2":   &Token{TimeMS: math.MinInt64},
		"manifests": &Manifests{Manifests: make([][]byte, MaxManifests+1)},
		"bundles":   &Bundles{Devices: make([]DeviceBundle, MaxDevices+1)},
		"prekeys":   &PrekeyCount{OneTimeExchange: math.MinInt},
		"prekeys 2": &PrekeyCount{OneTimeKEM: math.MaxInt},
		"prekeys 3": &PrekeyCount{SignedExpiresMS: math.MaxInt64},
		"prekeys 4": &PrekeyCount{LastResortExpiresMS: -1},
		"blob":      &Blob{Size: math.MaxInt64},
		"blob 2":    &Blob{ExpiresMS: MaxTime + 1},
		"blob 3":    &Blob{Downloads: -1},
		"blob 4":    &Blob{Parts: make([]BlobPart, MaxBlobParts+1)},
		"blob 5":    &Blob{Parts: []BlobPart{{Number: -1}}},
		"blob 6":    &Blob{Parts: []BlobPart{{Size: math.MaxInt64}}},
		"blob 7":    &Blob{MaxSize: -1},
		"tickets":   &BlobTicketList{Tickets: []BlobTicket{{ExpiresMS: math.MaxInt64}}},
		"tickets 2": &BlobTicketList{Tickets: make([]BlobTicket, MaxBlobTickets+1)},
		"download":  &BlobDownload{Size: -1},
		"download2": &BlobDownload{ExpiresMS: -5},
		"download3": &BlobDownload{Ticket: BlobTicket{Number: math.MaxInt}},
		"turn":      &TurnCredentials{ExpiresMS: math.MinInt64},
		"issued":    &ContactServer{Frame: &ContactServer_Issued{Issued: &FenceIssued{TimeMs: MaxTime + 1}}},
		"stale":     &ContactServer{Frame: &ContactServer_Stale{Stale: &StaleManifest{Manifests: make([][]byte, MaxManifests+1)}}},
		"presence":  &ContactServer{Frame: &ContactServer_Presence{Presence: &Presence{States: make([]*PresenceState, MaxSubscribe+1)}}},
		"opened":    &ReplicaServer{Frame: &ReplicaServer_Opened{Opened: &ReplicaOpened{TimeMs: -1}}},
	} {
		if err := a.Check(); err == nil {
			t.Errorf("%s: %+v is accepted", name, a)
		}
	}
	for _, a := range []Answer{
		&Realm{TimeMS: MaxTime}, &Token{ExpiresMS: 1, TimeMS: 2}, &Manifests{}, &PrekeyCount{OneTimeKEM: 100},
		&Blob{Size: maxBlobSize, Parts: []BlobPart{{Number: MaxBlobParts, Size: BlobPartSize}}}, &BlobDownload{}, &ContactServer{},
		&ReplicaServer{},
	} {
		if err := a.Check(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// Waits never overflow, and are never longer than a client's maximum.
func TestWaitsAreBounded(t *testing.T) {
	for _, ms := range []int64{0, 1, 1000, math.MaxInt64, math.MinInt64, math.MaxInt64 / int64(time.Millisecond), -1, 1 << 53} {
		if d := Wait(ms); d < 0 || d > MaxRetryAfter {
			t.Errorf("%d ms: %s", ms, d)
		}
	}
	for _, s := range []float64{0, 1.5, math.MaxFloat64, -1, math.Inf(1), math.Inf(-1), math.NaN(), 1e10} {
		if d := WaitSeconds(s); d < 0 || d > MaxRetryAfter {
			t.Errorf("%g s: %s", s, d)
		}
		if d := (&Error{RetryAfter: s}).Wait(); d < 0 || d > MaxRetryAfter {
			t.Errorf("an error with %g s: %s", s, d)
		}
	}
	if Wait(1000) != time.Second || WaitSeconds(1.5) != 1500*time.Millisecond {
		t.Error("a usual wait is not kept")
	}
}

// FuzzAnswers decodes arbitrary server responses and computes with them as a client does.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"expires_ms":253402300800000,"time_ms":-1,"size":1e18,"parts":[{"number":5000}]}`))
	f.Add([]byte(`{"one_time_exchange":-9223372036854775808}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var token Token
		if json.Unmarshal(in, &token) == nil && token.Check() == nil {
			life := time.Duration(min(max(token.ExpiresMS-token.TimeMS, 0), TokenLife.Milliseconds())) * time.Millisecond
			if life < 0 || life > TokenLife {
				t.Fatalf("a token lives %s", life)
			}
		}
		var blob Blob
		if json.Unmarshal(in, &blob) == nil && blob.Check() == nil {
			if y := time.UnixMilli(blob.ExpiresMS).UTC().Year(); y < 1970 || y > 9999 {
				t.Fatalf("a blob lives until the year %d", y)
			}
			sum := int64(0)
			for _, p := range blob.Parts {
				if sum += p.Size; sum < 0 {
					t.Fatal("sizes wrap around")
				}
			}
		}
	})
}
