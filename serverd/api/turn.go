package api

import (
	"context"
	"errors"

	"secmsg/rpc/wire"
	"secmsg/serverd/limit"
)

// ErrNoTurn means that calls cannot be relayed at the moment.
var ErrNoTurn = errors.New("api: the media server is not available at the moment")

// turnRetry is how long a device waits before it asks again, in seconds. The media server retries about
// that often.
const turnRetry = 30

// TurnOptions make the API issue credentials for the media server.
type TurnOptions struct {
	// Credentials issues credentials for an account. It returns ErrNoTurn while calls cannot be
	// relayed.
	Credentials func(account string) (wire.TurnCredentials, error)
	// Rate bounds how many an account gets; zero: 30, then one per 10 s.
	Rate limit.Rate
}

// postTurn serves POST /v1/turn, for accounts that are not suspended. Strangers get no credentials
// (attack F8, crypto/ATTACKS.md).
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
	// The media server refuses credentials issued before a suspension. These may have been allowed
	// before the suspension but issued after it, so check again.
	if err := a.MayTransfer(ctx, account); err != nil {
		return nil, err
	}
	return &answer[wire.TurnCredentials]{c}, nil
}
