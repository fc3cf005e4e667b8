package engine

import (
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Reasons of held and failed messages, as they stand in history.
const (
	reasonChanged    = "changed"     // held: the peer's key changed
	reasonUnverified = "unverified"  // held: policy demands a verified peer
	reasonRequest    = "request"     // held: the peer has not accepted me yet
	reasonUnknown    = "unknown"     // failed: no such account
	reasonBlocked    = "blocked"     // failed: one of the two blocked the other
	reasonGone       = "device_gone" // failed: no device is left
	reasonNoKeys     = "no_keys"     // failed: no device has keys to start a session with
	reasonTooLarge   = "too_large"   // failed
	reasonQuota      = "quota"       // failed: the mailbox stayed full
	reasonSuspended  = "suspended"   // failed: one of the accounts is suspended
	reasonRefused    = "malformed"   // failed: the server refused the envelope
	reasonDiscarded  = "discarded"   // failed: trust --discard dropped it
	reasonCancelled  = "cancelled"   // failed: outbox cancel withdrew it
	reasonDeclined   = "declined"    // failed: the peer does not want the file
	reasonExpired    = "expired"
	reasonDamaged    = "damaged" // failed: it could not be read from the disk
)

// advances reports whether an own message may go from one state to another.
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
// Nothing that a server says alone changes delivered or read.
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

// shownState is a state as it crosses the socket: a message that its sender
// withdrew has not failed.
func shownState(state, reason string) string {
	if state == local.StateFailed && reason == reasonCancelled {
		return local.StateCancelled
	}
	return state
}

// reached reports whether state is as far as a wait demands. held, failed and
// expired end a wait without reaching it.
func reached(state, wait string) bool {
	rank := map[string]int{local.StateAccepted: 1, local.StateDelivered: 2, local.StateRead: 3}
	want := map[string]int{waitServer: 1, waitDelivered: 2, waitRead: 3}
	return rank[state] >= want[wait]
}

// stuck reports whether a wait ends because nothing more will come by itself.
func stuck(state string) bool {
	return state == local.StateHeld || state == local.StateFailed || state == local.StateExpired
}

// stateError is what a held, failed or expired message tells its sender.
func stateError(state, reason, peer string) *local.Error {
	switch state {
	case local.StateExpired:
		return local.Errorf(local.CodeExpired, "the message to %s expired before it was delivered", peer)
	case local.StateHeld:
		switch reason {
		case reasonRequest:
			return local.Errorf(local.CodeRefused, "%s has not accepted your request yet; the message waits", peer)
		case reasonUnverified:
			return local.Errorf(local.CodeUntrusted, "%s is not verified; the message waits", peer).WithHint("secmsg verify %s", peer)
		}
		return local.Errorf(local.CodeUntrusted, "the key of %s has changed; the message waits", peer).WithHint("secmsg contact show %s", peer)
	case local.StateFailed:
		switch reason {
		case store.ReasonFileQuota:
			return local.Errorf(local.CodeQuota, "the server has no room for the file")
		case store.ReasonFileTooLarge:
			return local.Errorf(local.CodeQuota, "the file is larger than the server takes")
		case store.ReasonFileSource:
			return local.Errorf(local.CodeIO, "the file can be read no more")
		case store.ReasonFileStream:
			return local.Errorf(local.CodeIO, "the stream broke off; nothing was sent")
		case store.ReasonFileSpool:
			return local.Errorf(local.CodeIO, "the daemon may not write where it keeps what is to be sent")
		case store.ReasonFileRefused:
			return local.Errorf(local.CodeRefused, "the server refused the file")
		case reasonDeclined:
			return local.Errorf(local.CodeRefused, "%s does not want the file", peer)
		case reasonUnknown:
			return local.Errorf(local.CodeNotFound, "there is no account %s", peer)
		case reasonBlocked:
			return local.Errorf(local.CodeRefused, "%s does not take messages from you", peer)
		case reasonGone:
			return local.Errorf(local.CodeNotFound, "%s has no device any more that the message was for", peer)
		case reasonNoKeys:
			return local.Errorf(local.CodeNotFound, "%s has no device with keys to start a session", peer)
		case reasonTooLarge:
			return local.Errorf(local.CodeUsage, "the message is too large")
		case reasonQuota:
			return local.Errorf(local.CodeQuota, "the mailbox of %s is full", peer)
		case reasonSuspended:
			return local.Errorf(local.CodeRefused, "an account is suspended").WithCause(local.CauseSuspended)
		case reasonCancelled:
			return local.Errorf(local.CodeUsage, "the message to %s was cancelled", peer).WithCause(local.CauseCancelled)
		case reasonDamaged:
			return local.Errorf(local.CodeIO, "the message to %s is damaged on disk and was not sent", peer)
		case reasonDiscarded:
			return local.Errorf(local.CodeUntrusted, "the message was discarded after the key of %s changed", peer)
		}
		return local.Errorf(local.CodeInternal, "the server refused the message")
	}
	return nil
}
