package engine

import (
	"errors"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// reasonOf names a final rejection.
func reasonOf(code int32) string {
	switch code {
	case reasonCodeNoKeys:
		return history.ReasonNoKeys
	case int32(wire.Reason_REASON_UNKNOWN):
		return history.ReasonUnknown
	case int32(wire.Reason_REASON_BLOCKED):
		return history.ReasonBlocked
	case int32(wire.Reason_REASON_DEVICE_GONE):
		return history.ReasonGone
	case int32(wire.Reason_REASON_TOO_LARGE):
		return history.ReasonTooLarge
	case int32(wire.Reason_REASON_QUOTA):
		return history.ReasonQuota
	case int32(wire.Reason_REASON_SUSPENDED):
		return history.ReasonSuspended
	case int32(wire.Reason_REASON_EXPIRED):
		return history.ReasonExpired
	}
	return history.ReasonRefused
}

// weight orders reasons by how much they tell the sender. If the devices of a
// message were rejected for different reasons, the heaviest counts.
func weight(reason string) int {
	for i, r := range []string{history.ReasonRefused, history.ReasonGone, history.ReasonNoKeys, history.ReasonQuota, history.ReasonTooLarge, history.ReasonExpired,
		history.ReasonSuspended, history.ReasonUnknown, history.ReasonBlocked} {
		if r == reason {
			return i
		}
	}
	return 0
}

// verdict sums up the answers to a message's envelopes.
type verdict struct {
	pending, accepted bool
	reason            string
}

// judge sums up the envelopes of a message. Copies to own devices do not count.
func judge(envelopes []store.Envelope) verdict {
	var v verdict
	for _, env := range envelopes {
		if env.Own {
			continue
		}
		reason := ""
		switch {
		case env.Filler:
			reason = history.ReasonQuota
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
		v.reason = history.ReasonGone // there was no device at all
	}
	return v
}

// settle moves a message on when all its envelopes are answered: accepted if one of
// them was, else failed or expired. Control content is then dropped.
func (e *Engine) settle(tx *store.Tx, id store.MessageID) error {
	o, err := tx.OutgoingHead(e.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return tx.ForgetRejected(e.account, id)
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
		return e.history.SetState(tx, id, local.StateAccepted, "")
	case v.reason == history.ReasonExpired:
		return e.history.Fail(tx, o, local.StateExpired, history.ReasonExpired)
	}
	return e.history.Fail(tx, o, local.StateFailed, v.reason)
}
