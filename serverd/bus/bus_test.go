package bus

import (
	"context"
	"errors"
	"sync"
	"testing"

	"secmsg/crypto/key"
)

func TestMemory(t *testing.T) { testBus(t, func(*testing.T) Bus { return NewMemory() }) }

// testBus is the suite that every backend passes.
func testBus(t *testing.T, open func(*testing.T) Bus) {
	ctx := context.Background()
	device := key.DeviceID{1}
	holder := func(t *testing.T, b Bus) string {
		t.Helper()
		node, err := b.Holder(ctx, device)
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	hold := func(t *testing.T, b Bus, node string) func() {
		t.Helper()
		release, err := b.Hold(ctx, device, node)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	t.Run("Hold", func(t *testing.T) {
		b := open(t)
		if got := holder(t, b); got != "" {
			t.Fatalf("holder at first: %q", got)
		}
		first := hold(t, b, "n1")
		second := hold(t, b, "n2")
		first() // replaced: must not end n2's hold
		if got := holder(t, b); got != "n2" {
			t.Fatalf("holder: %q", got)
		}
		second()
		second()
		if got := holder(t, b); got != "" {
			t.Fatalf("holder after release: %q", got)
		}
	})
	t.Run("Wake", func(t *testing.T) {
		b := open(t)
		woken := make(chan key.DeviceID, 10)
		stop, err := b.Listen(ctx, "n1", func(d key.DeviceID) { woken <- d })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Listen(ctx, "n1", func(key.DeviceID) {}); !errors.Is(err, ErrNode) {
			t.Fatalf("second listener: %v", err)
		}
		hold(t, b, "n2")
		if err := b.Wake(ctx, device); err != nil { // its holder does not listen: the hint is lost
			t.Fatal(err)
		}
		hold(t, b, "n1")
		if err := b.Wake(ctx, device); err != nil {
			t.Fatal(err)
		}
		if got := <-woken; got != device {
			t.Fatalf("woken for %v", got)
		}
		stop()
		if err := b.Wake(ctx, device); err != nil {
			t.Fatal(err)
		}
		if len(woken) != 0 {
			t.Fatal("woken too often")
		}
		if _, err := b.Listen(ctx, "n1", func(key.DeviceID) {}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("Race", func(t *testing.T) {
		b := open(t)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				release, err := b.Hold(ctx, device, "n")
				if err != nil {
					t.Error(err)
					return
				}
				_ = b.Wake(ctx, device)
				release()
			})
		}
		wg.Wait()
		if got := holder(t, b); got != "" {
			t.Fatalf("holder in the end: %q", got)
		}
	})
}
