package engine

import (
	"errors"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// reasonOf names a final rejection.
func reasonOf(code int32) string {
	switch code {
	case reasonCodeNoKeys:
		return reasonNoKeys
	case int32(wire.Reason_REASON_UNKNOWN):
		return reasonUnknown
	case int32(wire.Reason_REASON_BLOCKED):
		return reasonBlocked
	case int32(wire.Reason_REASON_DEVICE_GONE):
		return reasonGone
	case int32(wire.Reason_REASON_TOO_LARGE):
		return reasonTooLarge
	case int32(wire.Reason_REASON_QUOTA):
		return reasonQuota
	case int32(wire.Reason_REASON_SUSPENDED):
		return reasonSuspended
	case int32(wire.Reason_REASON_EXPIRED):
		return reasonExpired
	}
	return reasonRefused
}

// weight orders reasons: the one that tells the sender most counts for a
// message whose devices were rejected for different ones.
func weight(reason string) int {
	for i, r := range []string{reasonRefused, reasonGone, reasonNoKeys, reasonQuota, reasonTooLarge, reasonExpired,
		reasonSuspended, reasonUnknown, reasonBlocked} {
		if r == reason {
			return i
		}
	}
	return 0
}

// verdict is what the answers to a message's envelopes amount to.
type verdict struct {
	pending, accepted bool
	reason            string
}

// judge looks at the envelopes of a message; copies to own devices say nothing.
func judge(envelopes []store.Envelope) verdict {
	var v verdict
	for _, env := range envelopes {
		if env.Own {
			continue
		}
		reason := ""
		switch {
		case env.Filler:
			reason = reasonQuota
		case env.Status == store.EnvelopePending || env.Status == store.EnvelopeAsked:
			v.pending = true
		case env.Status == store.EnvelopeAccepted:
			v.accepted = true
		default:
			reason = reasonOf(env.Reason)
		}
		if reason != "" && (v.reason == "" || weight(reason) > weight(v.reason)) {
			v.reason = reason
		}
	}
	if v.reason == "" {
		v.reason = reasonGone // there was no device at all
	}
	return v
}

// settle moves a message on when all its envelopes are answered: accepted if
// one of them was, else failed or expired. Control content is done with it.
func (e *Engine) settle(tx *store.Tx, id store.MessageID) error {
	o, err := tx.OutgoingHead(e.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return e.forgetAnswered(tx, id)
	}
	if err != nil || o.Phase == store.PhaseQueued || o.Phase == store.PhaseHeld {
		return err // it will be sealed again, or waits
	}
	envelopes, err := tx.EnvelopesOf(e.account, id)
	if err != nil {
		return err
	}
	v := judge(envelopes)
	switch {
	case v.pending:
		return nil
	case v.accepted && o.Control && !keepsForRetry(o.Kind):
		return tx.DropOutgoing(e.account, id)
	case v.accepted:
		if err := tx.SetPhase(e.account, id, store.PhaseAccepted, ""); err != nil || o.Control {
			return err
		}
		return e.setState(tx, id, local.StateAccepted, "")
	case v.reason == reasonExpired:
		return e.fail(tx, o, local.StateExpired, reasonExpired)
	}
	return e.fail(tx, o, local.StateFailed, v.reason)
}

// forgetAnswered removes the rejected envelopes of a message that is done. Those
// that a device has and did not acknowledge can still be asked for.
func (e *Engine) forgetAnswered(tx *store.Tx, id store.MessageID) error {
	return tx.ForgetRejected(e.account, id)
}
