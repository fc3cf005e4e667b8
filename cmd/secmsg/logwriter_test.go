package main

import (
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A log that nobody reads blocks nobody. When it is read later, it says how many lines
// are missing.
func TestLogWriterNeverWaits(t *testing.T) {
	r, pipe := io.Pipe() // without any room
	w := newLogWriter(pipe, slog.New(slog.NewTextHandler(pipe, nil)))
	log := slog.New(slog.NewTextHandler(w, nil))
	const lines = logQueue + 500
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for i := range lines {
			log.Info("line", "n", i)
		}
	}()
	select {
	case <-wrote:
	case <-time.After(2 * time.Minute):
		t.Fatal("logging waits for the reader of the log")
	}
	all := make(chan string)
	go func() {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		all <- string(b)
	}()
	w.close()
	if err := pipe.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-all
	kept := strings.Count(got, "msg=line")
	missing := 0
	for line := range strings.Lines(got) {
		if _, n, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " lines="); ok {
			more, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			missing += more
		}
	}
	if !strings.Contains(got, "n=0\n") || kept < logQueue || kept >= lines {
		t.Errorf("%d of %d lines were kept", kept, lines)
	}
	if missing != lines-kept {
		t.Errorf("the log says that %d lines are missing, and %d are", missing, lines-kept)
	}
}

// close does not wait forever for a reader.
func TestLogWriterEndsWithoutReader(t *testing.T) {
	r, pipe := io.Pipe()
	w := newLogWriter(pipe, slog.New(slog.NewTextHandler(pipe, nil)))
	log := slog.New(slog.NewTextHandler(w, nil))
	log.Info("line")
	w.close()
	if err := r.Close(); err != nil { // releases the writing goroutine
		t.Fatal(err)
	}
	<-w.done
}
