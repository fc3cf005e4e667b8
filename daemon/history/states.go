package history

import (
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Reasons of held and failed messages, as they are stored.
const (
	ReasonChanged    = "changed"     // held: the peer's key changed
	ReasonUnverified = "unverified"  // held: the policy demands a verified peer
	ReasonRequest    = "request"     // held: the peer has not accepted this account yet
	ReasonUnknown    = "unknown"     // failed: there is no such account
	ReasonBlocked    = "blocked"     // failed: one of the two blocked the other
	ReasonGone       = "device_gone" // failed: no device is left
	ReasonNoKeys     = "no_keys"     // failed: no device has keys to start a session with
	ReasonTooLarge   = "too_large"   // failed
	ReasonQuota      = "quota"       // failed: the mailbox stayed full
	ReasonSuspended  = "suspended"   // failed: one of the accounts is suspended
	ReasonRefused    = "malformed"   // failed: the server refused the envelope
	ReasonDiscarded  = "discarded"   // failed: trust --discard dropped it
	ReasonCancelled  = "cancelled"   // failed: outbox cancel withdrew it
	ReasonDeclined   = "declined"    // failed: the peer does not want the file
	ReasonExpired    = "expired"
	ReasonDamaged    = "damaged" // failed: it could not be read from the disk
)

// advances reports whether a message that this account sent may go from one state to another.
//
//	queued <--> held
//	   |          |
//	   +----+-----+--> failed, expired
//	        v               |
//	     accepted --> failed, expired
//	        v               v
//	    delivered <---------+   (a receipt is authenticated: it tells the truth
//	        v                    whatever the server said before)
//	       read
//
// No unauthenticated statement of the server changes delivered or read.
func advances(from, to string) bool {
	switch to {
	case local.StateQueued:
		return from == local.StateHeld
	case local.StateHeld:
		return from == local.StateQueued
	case local.StateAccepted:
		return from == local.StateQueued || from == local.StateHeld
	case local.StateFailed, local.StateExpired:
		return from == local.StateQueued || from == local.StateHeld || from == local.StateAccepted
	case local.StateDelivered:
		return from != local.StateDelivered && from != local.StateRead
	case local.StateRead:
		return from != local.StateRead
	}
	return false
}

// ShownState is a state as the local RPC names it: a message that its sender
// withdrew is cancelled, not failed.
func ShownState(state, reason string) string {
	if state == local.StateFailed && reason == ReasonCancelled {
		return local.StateCancelled
	}
	return state
}

// StateError explains a held, failed or expired message to its sender. It
// returns nil for other states.
func StateError(state, reason, peer string) *local.Error {
	switch state {
	case local.StateExpired:
		return local.Errorf(local.CodeExpired, "the message to %s expired before it was delivered", peer)
	case local.StateHeld:
		switch reason {
		case ReasonRequest:
			return local.Errorf(local.CodeRefused, "%s has not accepted your request yet; the message is kept until then", peer)
		case ReasonUnverified:
			return local.Errorf(local.CodeUntrusted, "%s is not verified; the message is held", peer).WithHint("secmsg verify %s", peer)
		}
		return local.Errorf(local.CodeUntrusted, "the key of %s has changed; the message is held", peer).WithHint("secmsg contact show %s", peer)
	case local.StateFailed:
		return failure(reason, peer)
	}
	return nil
}

// failure explains why a message failed.
func failure(reason, peer string) *local.Error {
	switch reason {
	case store.ReasonFileQuota:
		return local.Errorf(local.CodeQuota, "your quota on the server has no room for the file")
	case store.ReasonFileTooLarge:
		return local.Errorf(local.CodeQuota, "the file is larger than the server accepts")
	case store.ReasonFileSource:
		return local.Errorf(local.CodeIO, "the file can no longer be read")
	case store.ReasonFileStream:
		return local.Errorf(local.CodeIO, "the stream broke off; nothing was sent")
	case store.ReasonFileSpool:
		return local.Errorf(local.CodeIO, "the daemon has no permission to write to the directory for outgoing files")
	case store.ReasonFileRefused:
		return local.Errorf(local.CodeRefused, "the server refused the file")
	case ReasonDeclined:
		return local.Errorf(local.CodeRefused, "%s declined the file", peer)
	case ReasonUnknown:
		return local.Errorf(local.CodeNotFound, "account %s does not exist", peer)
	case ReasonBlocked:
		return local.Errorf(local.CodeRefused, "%s does not accept messages from you", peer)
	case ReasonGone:
		return local.Errorf(local.CodeNotFound, "%s removed the device this message was sent to", peer)
	case ReasonNoKeys:
		return local.Errorf(local.CodeNotFound, "%s has no device with keys to start a session", peer)
	case ReasonTooLarge:
		return local.Errorf(local.CodeUsage, "the message is too large")
	case ReasonQuota:
		return local.Errorf(local.CodeQuota, "the mailbox of %s is full", peer)
	case ReasonSuspended:
		return local.Errorf(local.CodeRefused, "your account or the recipient's is suspended").WithCause(local.CauseSuspended)
	case ReasonCancelled:
		return local.Errorf(local.CodeUsage, "the message to %s was cancelled", peer).WithCause(local.CauseCancelled)
	case ReasonDamaged:
		return local.Errorf(local.CodeIO, "the message to %s is damaged on disk and was not sent", peer)
	case ReasonDiscarded:
		return local.Errorf(local.CodeUntrusted, "the message was discarded after the key of %s changed", peer)
	}
	return local.Errorf(local.CodeInternal, "the server refused the message")
}
