package link

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswerToAPartMayTakeLonger checks that a part which was sent completely, for example
// into a proxy's memory, has more time for its answer than one step of the transfer, but
// not unlimited time.
func TestAnswerToAPartMayTakeLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const within = 30 * time.Second
		c := &Client{timing: Timing{Request: within}}
		w, ctx := c.watch(t.Context())
		defer w.stop()
		if _, err := io.Copy(io.Discard, w.reader(strings.NewReader("a part"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(answerTimes*within - time.Second)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Fatal("it did not wait for the answer")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("it waits for ever")
		}
		w2, ctx2 := c.watch(t.Context())
		defer w2.stop()
		time.Sleep(within + time.Second)
		synctest.Wait()
		if ctx2.Err() == nil {
			t.Error("what never moved is waited for too long")
		}
	})
}
