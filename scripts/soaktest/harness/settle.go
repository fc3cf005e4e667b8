package harness

import (
	"context"
	"fmt"
	"time"

	"secmsg/scripts/soaktest/ledger"
)

const (
	// settleEvery is how often the ledger is judged after the last fault.
	settleEvery = time.Second
	// everything is a --limit that no run reaches.
	everything = 1_000_000
	// receiptTime is how long the receipts in the journal are read at the end, because listen has no
	// end.
	receiptTime = "3s"
)

// settle waits until every taken message has arrived or the time is over, and reads the final state
// into the ledger. The judge reports messages still missing then.
func (h *harness) settle(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		finals, err := h.finals(ctx)
		if err != nil {
			return time.Since(start), err
		}
		l := h.rec.Ledger()
		l.Finals = finals
		waiting := 0
		for _, v := range ledger.Check(&l) {
			if v.Kind == ledger.Lost || v.Kind == ledger.Undecided {
				waiting++
			}
		}
		took := time.Since(start)
		if waiting == 0 || took > h.opt.Quiet {
			h.rec.Ended(finals...)
			return took, h.receipts(ctx)
		}
		h.notef("%d things have not arrived after %s", waiting, took.Round(time.Second))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Since(start), context.Cause(ctx)
		}
	}
}

// finals reads the histories of all users.
func (h *harness) finals(ctx context.Context) ([]ledger.Final, error) {
	var all []ledger.Final
	for _, u := range h.users {
		events, err := h.world.History(ctx, u.name, u.peer, everything)
		if err != nil {
			return nil, fmt.Errorf("final history: %w", err)
		}
		for _, e := range events {
			if e.Message == nil {
				continue
			}
			all = append(all, ledger.Final{User: u.name, Peer: u.peer, Direction: e.Direction, ID: e.ID,
				Text: e.Message.Text, State: e.Message.State})
		}
	}
	return all, nil
}

// receipts reads the message states from the journals.
func (h *harness) receipts(ctx context.Context) error {
	for _, u := range h.users {
		events, err := h.world.Events(ctx, u.name, "receipt", receiptTime)
		if err != nil {
			return fmt.Errorf("receipts: %w", err)
		}
		for _, e := range events {
			if e.Receipt != nil {
				h.rec.Told(ledger.State{User: u.name, Source: "journal", ID: e.Receipt.MessageID, State: e.Receipt.State})
			}
		}
	}
	return nil
}
