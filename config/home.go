package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// HomeError means that the profile cannot be in the home directory that the
// environment names.
type HomeError struct {
	text, hint string
}

// Error says why.
func (e *HomeError) Error() string { return e.text }

// Hint tells the user how to fix it.
func (e *HomeError) Hint() string { return e.hint }

// userHome returns the caller's home directory. A relative one is refused: the
// daemon has another working directory than the command that starts it.
func userHome() (string, error) {
	dir, err := os.UserHomeDir()
	switch {
	case err != nil:
		return "", &HomeError{"cannot find your home directory: " + err.Error(), "set HOME, or name a directory with --home DIR"}
	case !filepath.IsAbs(dir):
		return "", &HomeError{fmt.Sprintf("the home directory %q (HOME) is not an absolute path", dir), "correct HOME, or name a directory with --home DIR"}
	}
	return dir, nil
}

// checkForeign refuses a directory that root would use or create inside another
// user's directory, as happens when sudo keeps HOME. A ~/.local that belongs to root
// would lock the user out of more than secmsg.
func checkForeign(dir string) error {
	if os.Geteuid() != 0 {
		return nil // the kernel refuses it to everybody else
	}
	for {
		info, err := os.Stat(dir)
		if err == nil {
			if owner, ok := foreignOwner(info); ok {
				return &HomeError{
					fmt.Sprintf("%s belongs to %s, and this command runs as root", dir, owner.String()),
					fmt.Sprintf("to use that user's profile: sudo -H -u %s secmsg ...; for a separate profile of root: --home DIR", owner.Name()),
				}
			}
			return nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return nil // opening the directory will return the error
		}
		dir = parent
	}
}

// OwnerError means that a directory of the profile belongs to another user.
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
	return fmt.Sprintf("run the command as that user: sudo -H -u %s secmsg ...; or use another profile with --home DIR", e.owner.Name())
}

// owner is the user to whom a file belongs.
type owner struct {
	uid  string
	name string // empty if the user has no name on this system
}

// String describes the user in a sentence.
func (o owner) String() string {
	if o.name == "" {
		return "another user (uid " + o.uid + ")"
	}
	return "the user " + o.name + " (uid " + o.uid + ")"
}

// Name is the user in the form of sudo's option -u.
func (o owner) Name() string {
	if o.name == "" {
		return "'#" + o.uid + "'"
	}
	return shellQuote(o.name)
}
