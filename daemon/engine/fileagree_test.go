package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// wantAgreement demands that the history with a peer, the list, show, and the
// last event of each file say the same of it, and returns the states that were
// met. The state of an own file that is at the server is its message's, which
// receipts tell.
func (p *person) wantAgreement(peer string) map[string]bool {
	p.t.Helper()
	last := make(map[string]*local.File)
	for _, e := range p.events(local.TypeFile) {
		last[e.File.ID] = e.File
	}
	for _, e := range p.events(local.TypeFileState) {
		last[e.FileState.ID] = e.FileState
	}
	inHistory := make(map[string]*local.File)
	for _, e := range p.history(peer) {
		if e.File != nil {
			inHistory[e.File.ID] = e.File
		}
		if e.Message == nil {
			continue
		}
		for i := range e.Message.Files {
			inHistory[e.Message.Files[i].ID] = &e.Message.Files[i]
		}
	}
	list, err := p.engine.ListFiles(context.Background(), local.FileListParams{Peer: peer})
	if err != nil || len(list.Events) == 0 {
		p.t.Fatalf("%+v, %v", list, err)
	}
	states := make(map[string]bool)
	for _, e := range list.Events {
		f := e.File
		states[f.State] = true
		if (f.State == local.FileFailed) != (f.Error != nil) {
			p.t.Errorf("%s is %s with the error %v", f.Name, f.State, f.Error)
		}
		shown, _, err := p.engine.ShowFile(context.Background(), f.ID)
		if err != nil {
			p.t.Fatal(err)
		}
		told := map[string]*local.File{"history": inHistory[f.ID], "show": shown.Event.File, "event": last[f.ID]}
		if m := p.stateOfFile(f.ID); m == store.FileSent || m == store.FileDone {
			delete(told, "event")
		}
		for where, other := range told {
			want, err := json.Marshal(f)
			got, err2 := json.Marshal(other)
			if err != nil || err2 != nil || !bytes.Equal(want, got) {
				p.t.Errorf("%s: the list says %s, %s says %s", f.Name, want, where, got)
			}
		}
	}
	return states
}

// stateOfFile is the state on disk.
func (p *person) stateOfFile(id string) (state string) {
	p.t.Helper()
	err := p.st.View(context.Background(), func(tx *store.Tx) error {
		m, err := history.ParseID(id)
		if err != nil {
			return err
		}
		f, err := tx.File(p.account, m)
		if err == nil {
			state = f.State
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return state
}

// TestFileStatesAgree takes files of both kinds, alone and as parts of a
// message, into every state there is.
func TestFileStatesAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		ctx := context.Background()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// queue queues files for bob, together and each for itself, uploads all that
		// are not to stay, and returns their ids at bob's.
		queue := func(from *person, stay bool, life time.Duration, names ...string) (ids []string) {
			t.Helper()
			for _, attach := range []bool{true, false} {
				p := local.FileSendParams{Peers: []string{"bob"}, Attach: attach}
				if attach {
					p.Text = names[0]
				}
				q := from.queueFiles(p, names...)
				for _, transfer := range q.Transfers {
					if !stay {
						from.uploaded(transfer, life)
					}
				}
				for _, m := range q.Messages {
					check(from.st.View(ctx, func(tx *store.Tx) error {
						list, err := tx.FilesOf(from.account, m)
						for _, f := range list {
							ids = append(ids, history.IDText(f.ID))
						}
						return err
					}))
				}
			}
			settleDown(time.Minute)
			return ids
		}
		queue(alice, true, 0, "sending")
		queue(alice, false, blobLife, "offered")
		for _, id := range queue(alice, false, blobLife, "fetched", "and another") {
			bob.fetched(id)
		}
		for _, id := range queue(alice, false, blobLife, "spoiled", "too") {
			m, err := history.ParseID(id)
			check(err)
			check(bob.engine.FetchFailed(ctx, m, store.FileFailed, "what came is wrong", 0))
		}
		gone := queue(alice, false, blobLife, "cancelled", "with it")
		for _, id := range []string{gone[0], gone[2]} { // one of the message's two, one alone
			_, err := alice.engine.CancelFile(ctx, id)
			check(err)
		}
		for _, attach := range []bool{true, false} {
			q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}, Attach: attach}, "refused", "also")
			check(alice.engine.UploadFailed(ctx, q.Transfers[0], store.ReasonFileQuota, "no room"))
		}
		carol := join(t, r, "carol")
		defer carol.stop()
		carol.link.connect()
		bob.stop()
		bob.cfg.AutoAccept = 100
		bob.open()
		bob.run()
		bob.link.connect()
		settleDown(time.Minute)
		queue(carol, false, blobLife, "fetching")
		bob.add("carol") // now its files are fetched unasked
		settleDown(time.Minute)
		queue(alice, false, time.Hour, "expired")
		settleDown(2 * time.Hour)

		met := alice.wantAgreement("bob")
		for _, state := range []string{local.FileSending, local.StateAccepted, local.StateDelivered, local.FileCancelled, local.FileFailed, local.FileExpired} {
			if !met[state] {
				t.Errorf("no own file is %s", state)
			}
		}
		met = bob.wantAgreement("alice")
		for state := range bob.wantAgreement("carol") {
			met[state] = true
		}
		for _, state := range []string{local.FileOffered, local.FileFetching, local.FileFetched, local.FileFailed, local.FileExpired} {
			if !met[state] {
				t.Errorf("no incoming file is %s", state)
			}
		}
	})
}
