package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// actorRig is an actor without an engine, which notes the tasks that it carries out.
type actorRig struct {
	*actor
	end  context.CancelFunc
	done chan error

	mu  sync.Mutex
	ran []task
}

func newActorRig(t *testing.T, begin func(a *actor), run func(task) error) *actorRig {
	ctx, end := context.WithCancel(t.Context())
	r := &actorRig{actor: newActor(nil, slog.New(slog.DiscardHandler)), end: end, done: make(chan error, 1)}
	go func() {
		r.done <- r.run(ctx, func() { r.newTerm(); begin(r.actor) }, func(x task) error {
			r.mu.Lock()
			r.ran = append(r.ran, x)
			r.mu.Unlock()
			return run(x)
		})
	}()
	return r
}

func (r *actorRig) tasksRun() []task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ran)
}

func TestActorRunsTasksInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := true
		r := newActorRig(t, func(a *actor) {
			a.schedule(taskPump, 0)
			a.schedule(taskSweep, time.Hour)
			a.schedule(taskLoad, 0)
			a.schedule(taskSweep, time.Minute) // the earlier time counts
			a.schedule(taskSweep, 2*time.Hour)
		}, func(x task) error {
			if x == taskPump && fails {
				fails = false
				panic("a bad row")
			}
			return nil
		})
		synctest.Wait()
		if got := r.tasksRun(); !slices.Equal(got, []task{taskLoad, taskPump}) {
			t.Errorf("at once: %v", got)
		}
		time.Sleep(failWait) // the fake clock of synctest
		synctest.Wait()
		if got := r.tasksRun(); !slices.Equal(got, []task{taskLoad, taskPump, taskPump}) {
			t.Errorf("after a panic the task comes again: %v", got)
		}
		time.Sleep(time.Minute - failWait)
		synctest.Wait()
		if got := r.tasksRun(); len(got) != 4 || got[3] != taskSweep {
			t.Errorf("after a minute: %v", got)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := r.tasksRun(); len(got) != 4 {
			t.Errorf("a task runs more than once: %v", got)
		}
		r.end()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestActorAnswersUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newActorRig(t, func(*actor) {}, func(task) error { return nil })
		want := errors.New("no")
		if err := r.do(t.Context(), func() error { return want }); !errors.Is(err, want) {
			t.Errorf("the result is %v", err)
		}
		if err := r.do(t.Context(), func() error { panic("a bug") }); err == nil {
			t.Error("a panic is no error")
		}
		if err := r.do(t.Context(), func() error { return nil }); err != nil {
			t.Errorf("after a panic: %v", err)
		}
		r.end()
		<-r.done
		if err := r.do(t.Context(), func() error { return nil }); !errors.Is(err, errStopped) {
			t.Errorf("after the end: %v", err)
		}
		if err := r.share(nil, nil); !errors.Is(err, errStopped) {
			t.Errorf("a job after the end: %v", err)
		}
	})
}

// TestActorForgetsWorkersOfAnEarlierTerm lets a request outlive its term.
func TestActorForgetsWorkersOfAnEarlierTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newActorRig(t, func(*actor) {}, func(task) error { return nil })
		var results []string
		ask := func(name string) {
			r.worker(func(ctx context.Context) {
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}, func() { results = append(results, name) })
		}
		err := r.do(t.Context(), func() error {
			ask("old")
			old := r.term
			old.end()
			r.newTerm()
			ask("new")
			go old.wg.Wait()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the fake clock of synctest
		err = r.do(t.Context(), func() error {
			if !slices.Equal(results, []string{"new"}) {
				t.Errorf("results of %v, want that of the new term", results)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.end()
		<-r.done
	})
}
