package serverd

import (
	"errors"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/serverd/store"
)

// Explain reports whether the administrator can fix err, which comes from Init, Open or Run. hint says
// how, if there is a known remedy.
func Explain(err error) (hint string, theirs bool) {
	if e, ok := errors.AsType[*config.LooseError](err); ok {
		return e.Hint(), true
	}
	if e, ok := errors.AsType[*LooseFileError](err); ok {
		return e.Hint(), true
	}
	switch {
	case Damaged(err):
		return "keep the directory as it is and restore a backup into a new one", true
	case errors.Is(err, ErrInUse):
		return "name an empty or a new directory with --data", true
	case errors.Is(err, ErrNoServer):
		return "create one with: secmsg serverd init --domain DOMAIN --data DIR", true
	case errors.Is(err, ErrRunning), errors.Is(err, identity.ErrFormat), errors.Is(err, store.ErrTooNew):
		return "", true
	}
	return "", false
}

// Damaged reports whether err, from Open or Run, means that the server's database is damaged.
func Damaged(err error) bool { return errors.Is(err, store.ErrCorrupt) }
