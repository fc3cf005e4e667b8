package journal

import (
	"fmt"
	"math"
	"testing"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// insert adds a row to the journal unchanged.
func (r *rig) insert(id string, body string) {
	r.t.Helper()
	err := r.st.Update(r.t.Context(), func(tx *store.Tx) error {
		seq, err := tx.NextSeq()
		if err != nil {
			return err
		}
		return tx.InsertEvent(store.Event{Seq: seq, Account: 1, ID: id, Type: local.TypeMessage, Body: []byte(body)})
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// An unreadable row becomes one system event in its place, with and without a consumer. It
// is counted, and the stream continues.
func TestUnreadableRowDoesNotEndTheStream(t *testing.T) {
	r := newRig(t)
	bad := []string{
		`{"id":"b0","type":"message","time":"10000-01-01T00:00:00.000Z","message":{"text":"hi"}}`,
		`{"id":"b1","type":"message","time":"-0001-01-01T00:00:00Z"}`,
		`{"id":"b2","seq":1e99}`, `{"id":"b3","message":{"files":[{"size":99999999999999999999}]}}`, ``, `null x`, "\xff",
	}
	for i, body := range bad {
		r.append(text(fmt.Sprint("good", i)))
		r.insert(fmt.Sprint("b", i), body)
	}
	r.append(text("last"))
	for _, consumer := range []string{"", "bot"} {
		s := r.subscribe(local.SubscribeParams{Consumer: consumer, Since: "0", Window: 100})
		for i := range 2*len(bad) + 1 {
			e, ok := <-s.Events()
			if !ok {
				t.Fatalf("%q: the stream ended at %d: %v", consumer, i, s.Err())
			}
			if (e.System != nil) != (i%2 == 1) || e.Seq != int64(i+1) || e.ID == "" {
				t.Errorf("%q: event %d: %+v", consumer, i, e)
			}
			if consumer != "" {
				r.ack(consumer, fmt.Sprint(e.Seq))
			}
		}
		s.Close()
	}
	if n := r.j.Unreadable(); n != int64(2*len(bad)) {
		t.Errorf("%d rows were counted", n)
	}
}

// Every appended event can be read, whatever its time.
func TestAppendedEventsAreReadBack(t *testing.T) {
	r := newRig(t)
	times := []int64{0, 1, -1, 253402300799999, 253402300800000, math.MaxInt64, math.MinInt64, -62167219200001}
	for i, ms := range times {
		e := text(fmt.Sprint(i))
		e.Time, e.Received = local.Time{Time: time.UnixMilli(ms)}, local.Time{Time: time.UnixMilli(ms)}
		r.append(e)
	}
	s := r.subscribe(local.SubscribeParams{Since: "0"})
	defer s.Close()
	for i := range times {
		if e := <-s.Events(); e.Message == nil || e.ID != fmt.Sprint(i) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
}
