package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"secmsg/config/durable"
)

const (
	// privateDir and privateFile are the modes of everything in a profile.
	privateDir  fs.FileMode = 0o700
	privateFile fs.FileMode = 0o600

	appName = "secmsg"
)

// Paths are the files and directories of one profile.
type Paths struct {
	Home     string // as given by --home; empty when the XDG directories are used
	Config   string // directory of config.yaml
	Data     string // directory of the database and the storage key, 0700
	State    string // directory of the log, 0700
	Database string // Data/secmsg.db
	Lock     string // Data/daemon.lock
	Log      string // State/daemon.log
	File     string // Config/config.yaml

	// pointer is the file in Data that names the socket of the daemon.
	pointer string
}

// ResolvePaths returns the paths of the profile in home, or in the user's XDG
// directories if home is empty. It creates nothing. An error that the user can fix has
// a Hint method.
func ResolvePaths(home string) (Paths, error) {
	var p Paths
	if home != "" {
		dir, err := filepath.Abs(home)
		if err != nil {
			return Paths{}, fmt.Errorf("cannot resolve --home %s: %w", home, err)
		}
		p = Paths{Home: dir, Config: dir, Data: dir, State: dir}
	} else {
		user, err := userHome()
		if err != nil {
			return Paths{}, err
		}
		p = Paths{
			Config: filepath.Join(xdg("XDG_CONFIG_HOME", user, ".config"), appName),
			Data:   filepath.Join(xdg("XDG_DATA_HOME", user, ".local/share"), appName),
			State:  filepath.Join(xdg("XDG_STATE_HOME", user, ".local/state"), appName),
		}
		for _, dir := range []string{p.Config, p.Data, p.State} {
			if err := checkForeign(dir); err != nil {
				return Paths{}, err
			}
		}
	}
	p.Database = filepath.Join(p.Data, "secmsg.db")
	p.Lock = filepath.Join(p.Data, "daemon.lock")
	p.Log = filepath.Join(p.State, "daemon.log")
	p.File = filepath.Join(p.Config, "config.yaml")
	p.pointer = filepath.Join(p.Data, "socket")
	return p, nil
}

// EnsurePrivateDir creates dir with mode 0700, or refuses one that other users may
// enter: only this directory's mode protects the keys of a profile. The error's hint is
// the chmod command to run.
func EnsurePrivateDir(dir string) error {
	if err := durable.MkdirAll(dir, privateDir); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	return CheckPrivateDir(dir)
}

// CheckPrivateDir refuses a directory that is looser than 0700 or not the caller's own.
func CheckPrivateDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if err := checkOwner(dir, info); err != nil {
		return err
	}
	if info.Mode().Perm()&^privateDir != 0 && enforceMode {
		return &LooseError{Dir: dir, Mode: info.Mode().Perm()}
	}
	return nil
}

// LooseError means that a directory is open to other users.
type LooseError struct {
	Dir  string
	Mode fs.FileMode
}

// Error names the directory and its mode.
func (e *LooseError) Error() string {
	return fmt.Sprintf("directory %s is open to other users (mode %04o)", e.Dir, e.Mode)
}

// Hint is the command that fixes it.
func (e *LooseError) Hint() string { return "chmod 700 " + shellQuote(e.Dir) }

// shellQuote quotes s for a POSIX shell where it needs quoting.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// xdg returns the directory in the environment variable name. The XDG specification
// requires that a relative path be ignored.
func xdg(name, user, fallback string) string {
	if dir := os.Getenv(name); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(user, filepath.FromSlash(fallback))
}
