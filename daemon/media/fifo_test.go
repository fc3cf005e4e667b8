package media

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestFIFOThatNobodyWritesIsClosed: a call ends even if a FIFO never got a writer or was
// removed, at any moment.
func TestFIFOThatNobodyWritesIsClosed(t *testing.T) {
	dir := t.TempDir()
	for i := range 40 {
		path := filepath.Join(dir, strconv.Itoa(i)+".ivf")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		s := source(t, Video, path)
		began, ended, closed := make(chan struct{}), make(chan error, 1), make(chan error, 1)
		go func() {
			close(began)
			_, err := s.Next(context.Background())
			ended <- err
		}()
		<-began
		if i%2 == 1 {
			for range i { // let it get further
				_, _ = os.Stat(path)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("close: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a FIFO without a writer is not closed")
		}
		if err := <-ended; err == nil {
			t.Error("a frame out of nothing")
		}
	}
}
