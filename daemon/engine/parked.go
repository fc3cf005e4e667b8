package engine

import (
	"context"
	"fmt"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

const (
	// parkedPerPeer bounds the parked envelopes of one peer, so that a flood of
	// garbage fills no disk.
	parkedPerPeer = 1000
	// parkedInAll bounds them for all peers together: a server can invent any
	// number of senders.
	parkedInAll = 10_000
	// parkedOfStrangers bounds them for all senders without a single envelope that
	// opened.
	parkedOfStrangers = 256
	// quarantineBatch bounds how many quarantined envelopes are opened in one transaction.
	quarantineBatch = 64
)

// park keeps an envelope that could not be opened or handled.
func (e *Engine) park(tx *store.Tx, in *incoming, reason int) error {
	if room, err := e.roomForStranger(tx, in); err != nil {
		return err
	} else if !room {
		return tx.Count(e.account, countDropped)
	}
	n, err := tx.CountParked(e.account, in.peer, reason)
	if err != nil {
		return err
	}
	limit := parkedPerPeer
	if reason == store.ParkedChanged {
		limit = e.cfg.Quarantine
	}
	all, err := tx.CountAllParked(e.account)
	if err != nil {
		return err
	}
	if n >= limit || all >= parkedInAll {
		return tx.Count(e.account, countDropped)
	}
	if _, err := tx.Park(store.Parked{
		Account: e.account, Peer: in.peer, Device: in.device, ID: in.id, Class: int32(in.class), Reason: reason,
		AtMS: e.profileTime().UnixMilli(), AcceptedMS: in.accepted, Ciphertext: in.cipher,
	}); err != nil {
		return err
	}
	if reason == store.ParkedUndecryptable {
		tx.OnCommit(func() { e.schedule(taskAskAgain, 0) })
	}
	return nil
}

// roomForStranger reports whether an envelope of the sender may be kept. It adds an
// unknown sender as a peer.
func (e *Engine) roomForStranger(tx *store.Tx, in *incoming) (bool, error) {
	if in.addr == e.self {
		return true, nil
	}
	if in.peer > 0 {
		stranger, err := tx.Stranger(e.account, in.peer)
		if err != nil || !stranger {
			return err == nil, err
		}
	}
	n, err := tx.CountParkedOfStrangers(e.account)
	if err != nil || n >= parkedOfStrangers {
		return false, err
	}
	if in.peer == 0 {
		in.peer, err = tx.Peer(e.account, in.addr.String())
	}
	return err == nil, err
}

// quarantine keeps an envelope of a peer whose key changed until the user decides.
// The first that finds no room is reported.
func (e *Engine) quarantine(tx *store.Tx, in *incoming) error {
	n, err := tx.CountParked(e.account, in.peer, store.ParkedChanged)
	if err != nil {
		return err
	}
	if n < e.cfg.Quarantine {
		return e.park(tx, in, store.ParkedChanged)
	}
	if err := tx.Count(e.account, countDropped); err != nil {
		return err
	}
	flag := fmt.Sprintf("quarantine full/%d", in.peer)
	if told, err := tx.MetaInt(e.account, flag); err != nil || told == int64(n) {
		return err
	}
	if err := tx.SetMetaInt(e.account, flag, int64(n)); err != nil {
		return err
	}
	return e.history.System(tx, in.addr.String(), local.System{
		Text: fmt.Sprintf("%d messages from %s are held for a changed key; further messages are not kept", n, in.addr),
	})
}

// openQuarantined opens the quarantined envelopes of peers whose key is trusted
// again, those of each peer in the order of arrival. Peers that still await a
// decision do not block others.
func (e *Engine) openQuarantined() error {
	more, err := inTx(e, func(tx *store.Tx) (more bool, err error) {
		peers, err := tx.ParkedPeers(e.account, store.ParkedChanged)
		if err != nil {
			return false, err
		}
		room := quarantineBatch
		for _, peer := range peers {
			c, err := tx.Contact(e.account, peer)
			if store.DamagedValue(err) != nil {
				continue
			}
			if err != nil {
				return false, err
			}
			if len(c.Changed) > 0 {
				continue
			}
			list, err := tx.ParkedOf(e.account, peer, store.ParkedChanged, room+1)
			if err != nil {
				return false, err
			}
			for _, p := range list[:min(len(list), room)] {
				if err := e.openParked(tx, p); err != nil {
					return false, err
				}
			}
			if len(list) > room {
				return true, nil
			}
			room -= len(list)
		}
		return false, nil
	})
	if more {
		e.schedule(taskQuarantine, 0)
	}
	return err
}

func (e *Engine) openParked(tx *store.Tx, p store.Parked) error {
	addr, err := e.address(tx, p.Peer)
	if store.DamagedValue(err) != nil {
		return nil // its sender cannot be read; it is dropped when its retention ends
	}
	if err != nil {
		return err
	}
	if err := tx.DeleteParked(p.Ord); err != nil {
		return err
	}
	in := &incoming{id: p.ID, peer: p.Peer, addr: addr, device: p.Device, class: wire.Class(p.Class), accepted: p.AcceptedMS, cipher: p.Ciphertext}
	return e.contain(tx, in, func() error { return e.open(tx, in) })
}

// Discard drops the quarantined envelopes of a peer whose key changed, and the held
// messages to it.
func (e *Engine) Discard(ctx context.Context, peer store.PeerID) error {
	return e.do(ctx, func() error {
		gone, err := inTx(e, func(tx *store.Tx) (gone []store.MessageID, err error) {
			list, err := tx.ParkedOf(e.account, peer, store.ParkedChanged, e.cfg.Quarantine)
			if err != nil {
				return nil, err
			}
			for _, p := range list {
				if err := tx.DeleteParked(p.Ord); err != nil {
					return nil, err
				}
			}
			rows, err := tx.OutgoingOf(e.account, peer, store.PhaseHeld)
			if err != nil {
				return nil, err
			}
			for i := range rows {
				if err := e.history.Fail(tx, &rows[i], local.StateFailed, history.ReasonDiscarded); err != nil {
					return nil, err
				}
				if err := tx.DeleteOutgoing(e.account, rows[i].ID); err != nil {
					return nil, err
				}
				gone = append(gone, rows[i].ID)
			}
			return gone, nil
		})
		e.window.dropMessages(gone)
		return err
	})
}
