package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// HomeError tells that the home directory of the environment cannot hold the
// caller's profile.
type HomeError struct {
	text, hint string
}

// Error says what is wrong with it.
func (e *HomeError) Error() string { return e.text }

// Hint is what the user can do about it.
func (e *HomeError) Hint() string { return e.hint }

// userHome returns the caller's home directory. A relative one is refused: the
// daemon has another working directory than the command that starts it.
func userHome() (string, error) {
	dir, err := os.UserHomeDir()
	switch {
	case err != nil:
		return "", &HomeError{"there is no home directory: " + err.Error(), "set HOME, or name a directory: --home DIR"}
	case !filepath.IsAbs(dir):
		return "", &HomeError{fmt.Sprintf("the home directory %q (HOME) is not an absolute path", dir), "correct HOME, or name a directory: --home DIR"}
	}
	return dir, nil
}

// checkForeign refuses a directory that root would use, or make, inside of one
// that belongs to somebody else, as it happens with sudo where HOME is kept. A
// ~/.local of root's would lock its owner out of more than secmsg.
func checkForeign(dir string) error {
	if os.Geteuid() != 0 {
		return nil // the kernel lets nobody else do so
	}
	for {
		info, err := os.Stat(dir)
		if err == nil {
			if owner, ok := foreignOwner(info); ok {
				return &HomeError{
					fmt.Sprintf("%s belongs to %s, and this command runs as root", dir, owner.String()),
					fmt.Sprintf("to use the profile of that user: sudo -H -u %s secmsg ...; for a profile of root's own: --home DIR", owner.Name()),
				}
			}
			return nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return nil // whoever opens it will say what is wrong
		}
		dir = parent
	}
}

// OwnerError tells that a directory of the profile belongs to another user.
type OwnerError struct {
	Dir   string
	owner owner
}

// Error names the directory and its owner.
func (e *OwnerError) Error() string {
	return fmt.Sprintf("directory %s belongs to %s", e.Dir, e.owner.String())
}

// Hint says how to run as that user.
func (e *OwnerError) Hint() string {
	return fmt.Sprintf("run it as that user: sudo -H -u %s secmsg ...; or use another profile: --home DIR", e.owner.Name())
}

// owner is the user to whom a file belongs.
type owner struct {
	uid  string
	name string // empty if the system knows no name
}

// String describes the user in a sentence.
func (o owner) String() string {
	if o.name == "" {
		return "another user (uid " + o.uid + ")"
	}
	return "the user " + o.name + " (uid " + o.uid + ")"
}

// Name is how sudo is told of the user.
func (o owner) Name() string {
	if o.name == "" {
		return "'#" + o.uid + "'"
	}
	return shellQuote(o.name)
}
