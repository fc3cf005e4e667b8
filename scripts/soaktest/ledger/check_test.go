package ledger

import (
	"fmt"
	"slices"
	"testing"
)

// run is a ledger of two users and n messages each way, without a violation.
func run(n int) *Ledger {
	l := &Ledger{}
	for _, ends := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
		from, to := ends[0], ends[1]
		for i := range n {
			text, id := fmt.Sprintf("%s %d", from, i), fmt.Sprintf("id-%s-%d", from, i)
			l.Sends = append(l.Sends, Send{From: from, To: to, Text: text, IDs: []string{id}, Attempts: 1})
			l.Shows = append(l.Shows, Show{User: to, Consumer: "c", Run: 1, Seq: int64(2*i + 1), ID: id, Text: text})
			l.Finals = append(l.Finals,
				Final{User: to, Peer: from, Direction: "in", ID: id, Text: text},
				Final{User: from, Peer: to, Direction: "out", ID: id, Text: text, State: "delivered"})
			for _, s := range []string{"accepted", "delivered"} {
				l.States = append(l.States, State{User: from, Source: "journal", ID: id, State: s})
			}
		}
	}
	return l
}

// shows returns a filter for the lines that show alice's message number i.
func shows(i int) func(Show) bool {
	return func(s Show) bool { return s.Text == fmt.Sprintf("alice %d", i) }
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(l *Ledger)
		want  []string // kinds
	}{
		{"all is well", func(*Ledger) {}, nil},
		{"a consumer missed one", func(l *Ledger) { l.Shows = slices.DeleteFunc(l.Shows, shows(2)) }, []string{Lost}},
		{"the last one is missing", func(l *Ledger) { l.Shows = slices.DeleteFunc(l.Shows, shows(4)) }, []string{Lost}},
		{"history missed one", func(l *Ledger) {
			l.Finals = slices.DeleteFunc(l.Finals, func(f Final) bool { return f.Text == "alice 2" && f.Direction == "in" })
		}, []string{Lost}},
		{"the sender forgot one", func(l *Ledger) {
			l.Finals = slices.DeleteFunc(l.Finals, func(f Final) bool { return f.Text == "alice 2" && f.Direction == "out" })
		}, []string{Lost}},
		{"lost, but never promised", func(l *Ledger) {
			l.Shows = slices.DeleteFunc(l.Shows, shows(2))
			l.Finals = slices.DeleteFunc(l.Finals, func(f Final) bool { return f.Text == "alice 2" })
			l.Sends[2].IDs = nil
		}, nil},
		{"arrived, though no id was returned", func(l *Ledger) { l.Sends[2].IDs = nil }, nil},
		{"shown again under a new seq", func(l *Ledger) {
			s := l.Shows[1]
			s.Seq = 100
			l.Shows = slices.Insert(l.Shows, 5, s)
		}, []string{Twice}},
		{"the same seq twice in a run", func(l *Ledger) { l.Shows = slices.Insert(l.Shows, 2, l.Shows[1]) }, []string{Twice}},
		{"shown again by a new run, not acknowledged", func(l *Ledger) { again(l, 3, 2) }, nil},
		{"shown again by a new run, acknowledged before it", func(l *Ledger) {
			again(l, 3, 2)
			l.Acks = append(l.Acks, Ack{User: "bob", Consumer: "c", Before: 2, Seq: l.Shows[2].Seq})
		}, []string{Twice}},
		{"shown again by a new run, an earlier one acknowledged", func(l *Ledger) {
			again(l, 3, 2)
			l.Acks = append(l.Acks, Ack{User: "bob", Consumer: "c", Before: 2, Seq: l.Shows[1].Seq})
		}, nil},
		{"shown again by a new run, acknowledged during it", func(l *Ledger) {
			again(l, 3, 2)
			l.Acks = append(l.Acks, Ack{User: "bob", Consumer: "c", Before: 3, Seq: l.Shows[2].Seq})
		}, nil},
		{"two consumers see one message under two seqs", func(l *Ledger) {
			for _, s := range slices.Clone(l.Shows) {
				s.Consumer, s.Seq = "d", s.Seq+1
				l.Shows = append(l.Shows, s)
			}
		}, slices.Repeat([]string{Twice}, 10)},
		{"twice in history", func(l *Ledger) { l.Finals = append(l.Finals, l.Finals[0]) }, []string{Twice}},
		{"two ids for one key", func(l *Ledger) { l.Sends[0].IDs = append(l.Sends[0].IDs, "other") }, []string{Twice}},
		{"consumers see another order", swapShows, []string{Disorder}},
		{"consumers see another order, on purpose", func(l *Ledger) { swapShows(l); l.Reordered = true }, nil},
		{"history has another order", func(l *Ledger) {
			l.Finals[0], l.Finals[2] = l.Finals[2], l.Finals[0]
			l.Reordered = true
		}, []string{Disorder}},
		{"another order of one that was never promised", func(l *Ledger) {
			swapShows(l)
			l.Finals[2], l.Finals[4] = l.Finals[4], l.Finals[2]
			l.Sends[1].IDs = nil
		}, nil},
		{"a text that nobody sent", func(l *Ledger) { l.Shows[4].Text = "psst" }, []string{Invented, Lost}},
		{"a text for somebody else", func(l *Ledger) {
			l.Shows = append(l.Shows, Show{User: "alice", Consumer: "c", Run: 1, Seq: 99, ID: "id-alice-0", Text: "alice 0"})
		}, []string{Invented}},
		{"another id", func(l *Ledger) { l.Shows[0].ID = "other" }, []string{Invented}},
		{"from delivered to accepted", func(l *Ledger) { l.States[0], l.States[1] = l.States[1], l.States[0] }, []string{Backward}},
		{"failed after read", func(l *Ledger) {
			l.States = append(l.States, State{User: "alice", Source: "journal", ID: "id-alice-0", State: "read"},
				State{User: "alice", Source: "journal", ID: "id-alice-0", State: "failed"})
		}, []string{Backward}},
		{"an unknown state", func(l *Ledger) { l.States[0].State = "gone" }, []string{Backward}},
		{"never delivered", func(l *Ledger) { l.Finals[1].State = "accepted" }, []string{Undecided}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := run(5)
			tt.spoil(l)
			var kinds []string
			for _, v := range Check(l) {
				kinds = append(kinds, v.Kind)
			}
			slices.Sort(kinds)
			slices.Sort(tt.want)
			if !slices.Equal(kinds, tt.want) {
				t.Errorf("found %v, want %v: %+v", kinds, tt.want, Check(l))
			}
		})
	}
}

// again makes a second run of bob's consumer begin at the line before line at.
func again(l *Ledger, at, run int) {
	for i := at; i < 5; i++ {
		l.Shows[i].Run = run
	}
	s := l.Shows[at-1]
	s.Run = run
	l.Shows = slices.Insert(l.Shows, at, s)
}

// swapShows shows alice's messages 1 and 2 to bob in the other order.
func swapShows(l *Ledger) {
	a, b := &l.Shows[1], &l.Shows[2]
	a.Text, b.Text = b.Text, a.Text
	a.ID, b.ID = b.ID, a.ID
}
