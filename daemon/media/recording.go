package media

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// recording is a file that a call writes: under a temporary name, beside its
// place, until it is complete. Its output guards it.
type recording struct {
	// constant
	root  *os.Root // the directory, opened once: what its path leads to later does not matter
	dir   string   // as it was named
	name  string
	place func(root *os.Root, temp, name string) (string, error)

	temp string // empty before create
	used string // the name that it got
}

// newRecording opens the directory of a file to be; the file is not looked at.
func newRecording(path string, place func(root *os.Root, temp, name string) (string, error)) (*recording, error) {
	if place == nil {
		place = PlaceExact
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of a recording: %w", err)
	}
	return &recording{root: root, dir: dir, name: name, place: place}, nil
}

// PlaceExact gives a finished file its name, and fails if that is taken.
func PlaceExact(root *os.Root, temp, name string) (string, error) {
	if err := root.Link(temp, name); err != nil {
		return "", fmt.Errorf("place recording: %w", err)
	}
	if err := root.Remove(temp); err != nil {
		return "", fmt.Errorf("place recording: %w", err)
	}
	return name, nil
}

// create makes the temporary file.
func (r *recording) create() (*os.File, error) {
	temp := ".secmsg-" + rand.Text()
	f, err := r.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create recording: %w", err)
	}
	r.temp = temp
	return f, nil
}

// finish gives what was recorded its name. If that fails the recording stays
// under its temporary name, which the error tells.
func (r *recording) finish() error {
	var err error
	if r.temp != "" {
		if r.used, err = r.place(r.root, r.temp, r.name); err != nil {
			err = fmt.Errorf("the recording stays in %s: %w", filepath.Join(r.dir, r.temp), err)
		}
	}
	return errors.Join(err, r.root.Close())
}

// report tells what did not come out as it was asked for.
func (r *recording) report() string {
	switch {
	case r.temp == "":
		return fmt.Sprintf("nothing came for %s: the file was not made", filepath.Join(r.dir, r.name))
	case r.used != r.name:
		return fmt.Sprintf("the recording is in %s, because %s exists", filepath.Join(r.dir, r.used), r.name)
	}
	return ""
}
