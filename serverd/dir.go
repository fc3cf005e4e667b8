package serverd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"secmsg/config"
	"secmsg/config/durable"
	"secmsg/serverd/api"
)

// Names in the server's directory, in addition to those of package ca.
const (
	storeFile = "server.db"
	tokenFile = "token.key"
	lockFile  = "lock"
)

// privateFile is the mode of every file in the directory.
const privateFile = 0o600

// Errors that callers branch on.
var (
	// ErrInUse means that a directory is not empty.
	ErrInUse = errors.New("the directory is in use")
	// ErrNoServer means that a directory contains no server.
	ErrNoServer = errors.New("there is no server in this directory")
	// ErrRunning means that another server runs on the directory.
	ErrRunning = errors.New("another server is running on this directory")
)

// lock takes the directory's lock, so that only one server runs on it. The kernel releases the lock
// when the process ends, for whatever reason.
func lock(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, privateFile)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := flock(f); err != nil {
		text, _ := os.ReadFile(path)
		err = errors.Join(fmt.Errorf("%w (pid %s)", ErrRunning, pidOf(text)), f.Close())
		return nil, err
	}
	// The pid is information for people; only the lock has an effect.
	if err := errors.Join(f.Truncate(0), writeAt(f, fmt.Sprintf("%d\n", os.Getpid()))); err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	return f.Close, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// pidOf returns the digits at the start of a lock file.
func pidOf(text []byte) string {
	n := 0
	for n < len(text) && n < 10 && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	if n == 0 {
		return "unknown"
	}
	return string(text[:n])
}

// CheckDir refuses a directory that contains no server (ErrNoServer), has loose permissions
// (*config.LooseError), or contains keys that other users may read (*LooseFileError).
func CheckDir(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, tokenFile)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNoServer)
	}
	if err := config.CheckPrivateDir(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("check directory: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("check directory: %w", err)
		}
		if filepath.Ext(e.Name()) == ".key" && info.Mode().Perm()&^privateFile != 0 {
			return &LooseFileError{Path: filepath.Join(dir, e.Name()), Mode: info.Mode().Perm()}
		}
	}
	return nil
}

// LooseFileError means that other users may read a key.
type LooseFileError struct {
	Path string
	Mode fs.FileMode
}

// Error names the file and its mode.
func (e *LooseFileError) Error() string {
	return fmt.Sprintf("key file %s is open to other users (mode %04o)", e.Path, e.Mode)
}

// Hint is the command that fixes it.
func (e *LooseFileError) Hint() string { return fmt.Sprintf("chmod 600 %q", e.Path) }

// readTokenKey reads the key that signs access tokens.
func readTokenKey(dir string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, tokenFile))
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	defer f.Close()
	key := make([]byte, api.TokenKeySize+1)
	n, err := f.Read(key)
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	if n != api.TokenKeySize {
		return nil, fmt.Errorf("token key: %s does not contain %d bytes", tokenFile, api.TokenKeySize)
	}
	return key[:n], nil
}

// writeNew writes a private file that must not exist yet, and makes its content and name durable.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateFile)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return durable.SyncDir(filepath.Dir(path))
}
