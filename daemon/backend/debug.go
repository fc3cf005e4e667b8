package backend

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"

	"secmsg/daemon/codes"
	"secmsg/rpc/local"
)

// maxGoroutines bounds the text of Goroutines in bytes. A line of the local RPC is longer.
const maxGoroutines = 512 << 10

// Debug implements localapi.Backend.
func (b *Backend) Debug(ctx context.Context) (local.DebugState, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out := local.DebugState{Goroutines: runtime.NumGoroutine(), HeapBytes: m.HeapAlloc, Accounts: []local.DebugAccount{}}
	for _, a := range b.running() {
		st, err := a.Engine.Debug(ctx)
		if err != nil {
			return out, codes.Local(err)
		}
		out.Accounts = append(out.Accounts, st)
	}
	return out, nil
}

// Goroutines implements localapi.Backend.
func (b *Backend) Goroutines() (local.DebugGoroutines, error) {
	var text strings.Builder
	// Level 1 prints equal stacks once, and no arguments, which could hold data of users.
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		return local.DebugGoroutines{}, fmt.Errorf("goroutines: %w", err)
	}
	out := text.String()
	return local.DebugGoroutines{Text: out[:min(len(out), maxGoroutines)]}, nil
}
