package media

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// recording is a file written by a call. It has a temporary name in the destination's
// directory until it is complete. It is guarded by its output.
type recording struct {
	// constant
	root  *os.Root // the directory, opened once: later changes of its path have no effect
	dir   string   // as named by the caller
	name  string
	place func(root *os.Root, temp, name string) (string, error)

	temp   string // empty before create
	empty  bool   // nothing could be written to it
	broken bool   // it ends early
	used   string // final name
}

// newRecording opens the directory of a future file, without looking at the file. It fails
// if the directory is not writable, so that this is known before the call.
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
	r := &recording{root: root, dir: dir, name: name, place: place}
	f, err := r.create()
	if err == nil {
		err = errors.Join(f.Close(), root.Remove(r.temp))
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	r.temp = ""
	return r, nil
}

// PlaceExact renames a finished file to its name, and fails if that is taken.
func PlaceExact(root *os.Root, temp, name string) (string, error) {
	if err := root.Link(temp, name); err != nil {
		return "", fmt.Errorf("place recording: %w", err)
	}
	if err := root.Remove(temp); err != nil {
		return "", fmt.Errorf("place recording: %w", err)
	}
	return name, nil
}

// create creates the temporary file.
func (r *recording) create() (*os.File, error) {
	temp := ".secmsg-" + rand.Text()
	f, err := r.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create recording: %w", err)
	}
	r.temp = temp
	return f, nil
}

// finish renames the recording to its final name, or removes it if it is empty. If renaming
// fails, the recording keeps its temporary name, which is in the error.
func (r *recording) finish() error {
	var err error
	if r.temp != "" {
		info, serr := r.root.Stat(r.temp)
		r.empty = serr == nil && info.Size() == 0
	}
	switch {
	case r.empty:
		err = r.root.Remove(r.temp)
	case r.temp != "":
		if r.used, err = r.place(r.root, r.temp, r.name); err != nil {
			err = fmt.Errorf("the recording remains in %s: %w", filepath.Join(r.dir, r.temp), err)
		}
	}
	return errors.Join(err, r.root.Close())
}

// failed replaces the meaningless temporary name in an error by the recording's name.
func (r *recording) failed(err error) error {
	r.broken = true
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: p.Op, Path: filepath.Join(r.dir, r.name), Err: p.Err}
	}
	return err
}

// report describes how the result differs from the request.
func (r *recording) report() string {
	switch {
	case r.temp == "":
		return fmt.Sprintf("nothing was received for %s: the file was not created", filepath.Join(r.dir, r.name))
	case r.empty:
		return fmt.Sprintf("nothing could be written to %s: the file was not created", filepath.Join(r.dir, r.name))
	case r.used == "":
		return "" // the error of finish says where it is
	case r.broken:
		return fmt.Sprintf("the recording in %s is incomplete", filepath.Join(r.dir, r.used))
	case r.used != r.name:
		return fmt.Sprintf("the recording is in %s, because %s exists", filepath.Join(r.dir, r.used), r.name)
	}
	return ""
}
