package history

import (
	"context"
	"log/slog"

	"secmsg/daemon/store"
)

// Stations of a message's way through the daemon, beside the states of own messages (local.StateQueued and so on).
// Together with the stations that the server logs they follow one message from end to end:
//
//	queued, sealed, sent; at the server received, stored (unless it goes on from memory), sent, acknowledged;
//	opened and shown at the recipient; answered, accepted, delivered and read at the sender.
const (
	StationSealed   = "sealed"   // encrypted for a device; the ciphertext is stored
	StationSent     = "sent"     // handed to the connection
	StationAnswered = "answered" // the relay took it, or refused it for a reason
	StationOpened   = "opened"   // decrypted; its content is stored in the same transaction
)

// Traced reports whether stations are logged.
func (h *History) Traced() bool { return h.logger.Enabled(context.Background(), slog.LevelDebug) }

// Passed logs at level debug, once tx has committed, that a message passed a station. All stations log the same keys:
// message, peer, state and, where one device is concerned, device. No line has a text. It fails only with the store:
// a peer whose name cannot be found must not undo what is logged.
func (h *History) Passed(tx *store.Tx, id store.MessageID, peer store.PeerID, device [16]byte, state, reason string) error {
	if !h.Traced() {
		return nil
	}
	name, err := PeerName(tx, peer)
	if store.Failed(err) {
		return err
	}
	tx.OnCommit(func() { h.LogStation(id, name, device, state, reason) })
	return nil
}

// LogStation is Passed for a station that belongs to no transaction.
func (h *History) LogStation(id store.MessageID, peer string, device [16]byte, state, reason string) {
	attrs := []any{"message", IDText(id), "peer", peer, "state", state}
	if device != [16]byte{} {
		attrs = append(attrs, "device", h.deviceText(device))
	}
	if reason != "" {
		attrs = append(attrs, "reason", reason)
	}
	h.logger.Debug("message", attrs...)
}
