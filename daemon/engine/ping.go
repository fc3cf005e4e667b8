package engine

import "context"

// Ping returns when the actor has answered: by it the watchdog knows that the
// account is served.
func (e *Engine) Ping(ctx context.Context) error {
	return e.do(ctx, func() error { return nil })
}
