package api

import (
	"context"
	"errors"

	"secmsg/rpc/wire"
	"secmsg/serverd/limit"
)

// ErrNoTurn says that calls cannot be relayed at the moment.
var ErrNoTurn = errors.New("api: the media server cannot be used now")

// turnRetry is how long a device waits before it asks again, in seconds: the
// media server looks after itself about that often.
const turnRetry = 30

// TurnOptions make the API hand out credentials of the media server.
type TurnOptions struct {
	// Credentials makes credentials of an account. It fails with ErrNoTurn.
	Credentials func(account string) (wire.TurnCredentials, error)
	// Rate bounds how many an account gets; zero: 30, then one per 10 s.
	Rate limit.Rate
}

// postTurn serves POST /v1/turn. Who may call it has an account that is not
// suspended; a stranger gets nothing to relay with (attack F8).
func (a *API) postTurn(ctx context.Context, _ *empty) (*answer[wire.TurnCredentials], error) {
	account := callerOf(ctx).account
	if ok, wait := a.turns.Take(account); !ok {
		return nil, limited(wait)
	}
	c, err := a.opt.Turn.Credentials(account)
	if errors.Is(err, ErrNoTurn) {
		return nil, &wire.Error{Code: wire.CodeUnavailable, Message: "the server cannot relay calls now", RetryAfter: turnRetry}
	}
	if err != nil {
		return nil, err
	}
	// What is made before a suspension the media server refuses. This may be made
	// after it, and have been allowed before.
	if err := a.MayTransfer(ctx, account); err != nil {
		return nil, err
	}
	return &answer[wire.TurnCredentials]{c}, nil
}
