package localapi

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"secmsg/rpc/local"
)

// TestSendsBeginInOrder starts more sends than a connection runs concurrently. The backend
// gets them in the order in which they were started, whatever the order of the answers.
func TestSendsBeginInOrder(t *testing.T) {
	f := newFake()
	held := make(chan struct{})
	f.send = func(_ context.Context, p local.SendParams) (local.SendResults, error) {
		if p.Text == "0" {
			<-held // answered last
		}
		return local.SendResults{Results: []local.SendResult{{ID: p.Text}}}, nil
	}
	path, _ := start(t, f)
	c := dial(t, path)
	var want []string
	var pending []*local.PendingSend
	for i := range 5 * maxInFlight {
		want = append(want, fmt.Sprint(i))
		s, err := c.StartSend(local.SendParams{Peers: []string{"bob"}, Text: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, s)
	}
	answer := func(i int) {
		r, err := pending[i].Wait(t.Context())
		if err != nil || len(r.Results) != 1 || r.Results[0].ID != fmt.Sprint(i) {
			t.Errorf("send %d: %+v %v", i, r, err)
		}
	}
	for i := 1; i < len(pending); i++ {
		answer(i)
	}
	close(held)
	answer(0)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.submitted, want) {
		t.Errorf("begun in the order %v", f.submitted)
	}
}
