package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// healthFresh is how long a result of the checks is reused. Anybody may ask /healthz, and one of the
// checks waits for an fsync, so they must not run for every request.
const healthFresh = time.Second

// checkTimeout bounds all checks together; a slower store counts as unhealthy.
const checkTimeout = 5 * time.Second

// ErrUnhealthy is wrapped by the error of Healthy.
var ErrUnhealthy = errors.New("not healthy")

// Result is the outcome of one check.
type Result struct {
	Name string
	Err  error
}

// Registry holds collectors and checks.
type Registry struct {
	now func() time.Time // constant

	mu       sync.Mutex
	groups   map[string]func() map[string]int64 // guarded by mu
	checks   []check                            // guarded by mu
	warnings []func() []string                  // guarded by mu

	run     sync.Mutex // held while the checks run, so that only one run is active
	last    []Result   // guarded by run
	checked time.Time  // guarded by run
}

type check struct {
	name string
	f    func(context.Context) error
}

// New creates an empty registry.
func New(now func() time.Time) *Registry {
	return &Registry{now: now, groups: map[string]func() map[string]int64{}}
}

// Counters adds a group of counters and gauges. collect is called for every snapshot and must be quick.
func (r *Registry) Counters(group string, collect func() map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[group] = collect
}

// Check adds a health check. An error from it makes /healthz return 503.
func (r *Registry) Check(name string, f func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, check{name, f})
}

// Warnings adds a source of warnings for the administrator.
func (r *Registry) Warnings(f func() []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, f)
}

// Snapshot collects all counters by group and name.
func (r *Registry) Snapshot() map[string]map[string]int64 {
	r.mu.Lock()
	groups := make(map[string]func() map[string]int64, len(r.groups))
	for name, f := range r.groups {
		groups[name] = f
	}
	r.mu.Unlock()
	out := make(map[string]map[string]int64, len(groups))
	for name, f := range groups {
		out[name] = f()
	}
	return out
}

// Problems collects all warnings. The list is never nil.
func (r *Registry) Problems() []string {
	r.mu.Lock()
	sources := append([]func() []string(nil), r.warnings...)
	r.mu.Unlock()
	out := []string{}
	for _, f := range sources {
		out = append(out, f()...)
	}
	return out
}

// Health runs the checks, at most once a second; in between it returns the last results. The checks do
// not end with the caller's context.
func (r *Registry) Health(ctx context.Context) []Result {
	r.mu.Lock()
	checks := append([]check(nil), r.checks...)
	r.mu.Unlock()
	r.run.Lock()
	defer r.run.Unlock()
	now := r.now()
	if r.last != nil && !now.Before(r.checked) && now.Sub(r.checked) < healthFresh {
		return r.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	results := make([]Result, 0, len(checks))
	for _, c := range checks {
		results = append(results, Result{c.name, c.f(ctx)})
	}
	r.last, r.checked = results, now
	return results
}

// Forget drops the last results, after a problem was fixed.
func (r *Registry) Forget() {
	r.run.Lock()
	defer r.run.Unlock()
	r.last = nil
}

// Healthy returns nil, or an error that wraps ErrUnhealthy and names the failed checks.
func (r *Registry) Healthy(ctx context.Context) error {
	var failed []error
	for _, res := range r.Health(ctx) {
		if res.Err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", res.Name, res.Err))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnhealthy, errors.Join(failed...))
}
