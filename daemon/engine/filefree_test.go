package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// The blob of a file goes when every recipient has fetched it, an hour later, or
// when that is asked for; never before.
func TestDeliveredFileIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob", "carol")
		alice, bob, carol := people[0], people[1], people[2]
		defer stopAll(people...)
		deletes := 0
		more := func(what string, n int) {
			t.Helper()
			deletes += n
			if got := alice.transfers(store.TransferDelete); got != deletes {
				t.Errorf("%s: %d blobs are to be deleted, not %d", what, got, deletes)
			}
		}
		send := func(p local.FileSendParams, once bool, names ...string) store.QueuedFiles {
			t.Helper()
			var files []store.FileDetails
			var plans [][]byte
			for _, n := range names {
				files = append(files, store.FileDetails{Name: n, Size: 10, Once: once})
				plans = append(plans, []byte("plan"))
			}
			q, err := alice.engine.QueueFiles(context.Background(), p, files, plans, []byte(names[0]))
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range q.Transfers {
				alice.uploaded(id, blobLife)
			}
			settleDown(time.Minute)
			return q
		}
		both := local.FileSendParams{Peers: []string{"bob", "carol"}}

		q := send(both, false, "for two")
		bob.fetched(history.IDText(q.Messages[0]))
		settleDown(2 * time.Hour)
		more("one of two has it", 0)
		carol.fetched(history.IDText(q.Messages[1]))
		settleDown(50 * time.Minute)
		more("the hour is not over", 0)
		settleDown(20 * time.Minute)
		more("the hour is over", 1)
		settleDown(day)
		more("a day later", 0)

		q = send(both, true, "once")
		bob.fetched(history.IDText(q.Messages[0]))
		settleDown(2 * time.Hour)
		more("once, one of two has it", 0)
		carol.fetched(history.IDText(q.Messages[1]))
		settleDown(time.Minute)
		more("once", 1)

		q = send(both, false, "freed")
		bob.fetched(history.IDText(q.Messages[0]))
		settleDown(time.Minute)
		if n, _, err := alice.engine.FreeFiles(context.Background()); n != 0 || err != nil {
			t.Errorf("%d were freed that somebody wants, %v", n, err)
		}
		carol.fetched(history.IDText(q.Messages[1]))
		settleDown(time.Minute)
		if n, bytes, err := alice.engine.FreeFiles(context.Background()); n != 1 || bytes < 10 || err != nil {
			t.Errorf("%d files of %d bytes were freed, %v", n, bytes, err)
		}
		more("gc", 1)
		if n, _, err := alice.engine.FreeFiles(context.Background()); n != 0 || err != nil {
			t.Errorf("%d were freed twice, %v", n, err)
		}
		if _, err := alice.engine.CancelFile(context.Background(), history.IDText(q.Messages[0])); local.As(err).Code != local.CodeUsage {
			t.Errorf("cancelled when it was gone: %v", err)
		}

		// A note to oneself stays for devices to come.
		send(local.FileSendParams{Peers: []string{"alice"}}, true, "note")
		settleDown(2 * time.Hour)
		more("a note", 0)

		// A file that one has and the other does not want is wanted by nobody.
		q = send(both, false, "unwanted")
		decline(t, bob, history.IDText(q.Messages[0]))
		carol.fetched(history.IDText(q.Messages[1]))
		settleDown(2 * time.Hour)
		more("declined and fetched", 1)
		if got := alice.messageState(q.Messages[0]); got != local.StateFailed {
			t.Errorf("declined: %s", got)
		}
		// Its first id is still known to whoever declined it: nothing changes any more.
		if out, err := bob.engine.CancelFile(context.Background(), history.IDText(q.Messages[0])); err != nil || out.State != local.FileDeclined || *out.Changed {
			t.Errorf("declined twice: %+v %v", out, err)
		}

		// Of the files of a text each can be declined; the text itself has come.
		q = send(local.FileSendParams{Peers: []string{"bob"}, Attach: true, Text: "two"}, false, "left", "right")
		in, err := bob.engine.ListFiles(context.Background(), local.FileListParams{Limit: 2})
		if err != nil || len(in.Events) != 2 {
			t.Fatal(in, err)
		}
		decline(t, bob, in.Events[0].ID)
		settleDown(time.Minute)
		if got := alice.messageState(q.Messages[0]); got != local.StateAccepted {
			t.Errorf("one is neither fetched nor declined: %s", got)
		}
		bob.fetched(in.Events[1].ID)
		settleDown(2 * time.Hour)
		if got := alice.messageState(q.Messages[0]); got != local.StateDelivered {
			t.Errorf("one declined, one fetched: %s", got)
		}
		states := alice.fileStates()
		equal(t, "alice", states[len(states)-2:], []string{"left declined", "right delivered"})
		more("one declined, one fetched", 2)
	})
}

func decline(t *testing.T, p *person, id string) {
	t.Helper()
	if out, err := p.engine.CancelFile(context.Background(), id); err != nil || out.State != local.FileDeclined {
		t.Errorf("%+v, %v", out, err)
	}
}
