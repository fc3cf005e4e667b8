package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// maxSocketPath is the longest path that is used for a Unix socket. The
	// kernel's limit is 108 bytes on Linux and 104 on the BSDs and macOS.
	maxSocketPath = 100
	// maxPointer bounds the file that names the socket.
	maxPointer = 4096
	// privateDir and privateFile are the modes of everything in a profile.
	privateDir  fs.FileMode = 0o700
	privateFile fs.FileMode = 0o600

	socketName = "secmsg.sock"
	appName    = "secmsg"
)

// Paths are the places of one profile.
type Paths struct {
	Home     string // as given by --home; empty when the XDG directories are used
	Config   string // directory of config.yaml
	Data     string // directory of the database and the storage key, 0700
	State    string // directory of the log, 0700
	Socket   string // Unix socket that the daemon listens on
	Database string // Data/secmsg.db
	Lock     string // Data/daemon.lock
	Log      string // State/daemon.log
	File     string // Config/config.yaml

	// pointer is the file in Data that names the socket when it is elsewhere.
	pointer string
	// usual is where a client looks without the pointer.
	usual string
}

// ResolvePaths finds the places of the profile in home, or of the user's XDG
// directories when home is empty. It creates nothing.
func ResolvePaths(home string) (Paths, error) {
	var p Paths
	if home != "" {
		dir, err := filepath.Abs(home)
		if err != nil {
			return Paths{}, fmt.Errorf("find --home %s: %w", home, err)
		}
		p = Paths{Home: dir, Config: dir, Data: dir, State: dir, Socket: filepath.Join(dir, socketName)}
	} else {
		user, err := os.UserHomeDir()
		if err != nil {
			return Paths{}, fmt.Errorf("find the home directory: %w", err)
		}
		p = Paths{
			Config: filepath.Join(xdg("XDG_CONFIG_HOME", user, ".config"), appName),
			Data:   filepath.Join(xdg("XDG_DATA_HOME", user, ".local/share"), appName),
			State:  filepath.Join(xdg("XDG_STATE_HOME", user, ".local/state"), appName),
		}
		if run := runtimeDir(); run != "" {
			p.Socket = filepath.Join(run, appName, socketName)
		} else {
			p.Socket = filepath.Join(p.Data, socketName)
		}
	}
	if len(p.Socket) > maxSocketPath {
		p.Socket = shortSocket(p.Data)
	}
	p.usual = filepath.Join(p.Data, socketName)
	p.Database = filepath.Join(p.Data, "secmsg.db")
	p.Lock = filepath.Join(p.Data, "daemon.lock")
	p.Log = filepath.Join(p.State, "daemon.log")
	p.File = filepath.Join(p.Config, "config.yaml")
	p.pointer = filepath.Join(p.Data, "socket")
	return p, nil
}

// Sockets lists where a daemon of this profile may listen, the likeliest first:
// the place that a daemon announced, then the one that follows from the
// environment. A cron job has no XDG_RUNTIME_DIR and still finds the daemon of
// the session.
func (p Paths) Sockets() []string {
	all := make([]string, 0, 2)
	if s := p.announced(); s != "" && s != p.Socket {
		all = append(all, s)
	}
	return append(all, p.Socket)
}

// Announce records that the daemon listens on socket. Nothing is written when
// every client finds it anyway.
func (p Paths) Announce(socket string) error {
	if socket == p.usual {
		if err := os.Remove(p.pointer); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("announce the socket: %w", err)
		}
		return nil
	}
	temporary := p.pointer + ".new"
	if err := os.WriteFile(temporary, []byte(socket+"\n"), privateFile); err != nil {
		return fmt.Errorf("announce the socket: %w", err)
	}
	if err := os.Rename(temporary, p.pointer); err != nil {
		return fmt.Errorf("announce the socket: %w", err)
	}
	return nil
}

// announced reads the pointer; anything but an absolute path is ignored.
func (p Paths) announced() string {
	info, err := os.Stat(p.pointer)
	if err != nil || info.Size() > maxPointer {
		return ""
	}
	b, err := os.ReadFile(p.pointer)
	if err != nil {
		return ""
	}
	s := strings.TrimSuffix(string(b), "\n")
	if !filepath.IsAbs(s) || len(s) > maxSocketPath || strings.ContainsRune(s, 0) {
		return ""
	}
	return s
}

// EnsurePrivateDir creates dir with mode 0700, or refuses one that others may
// enter: what keeps a profile's keys from other users is this directory. The
// error names the chmod to type.
func EnsurePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, privateDir); err != nil {
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

// LooseError tells that a directory is open to other users.
type LooseError struct {
	Dir  string
	Mode fs.FileMode
}

// Error names the directory and its mode.
func (e *LooseError) Error() string {
	return fmt.Sprintf("directory %s is open to other users (mode %04o)", e.Dir, e.Mode)
}

// Hint is the command that puts it right.
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

// xdg returns the directory that name holds. The XDG specification says that a
// relative path is to be ignored.
func xdg(name, user, fallback string) string {
	if dir := os.Getenv(name); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(user, filepath.FromSlash(fallback))
}

// runtimeDir returns the user's runtime directory, empty if there is none. A
// job outside a session finds it by its well-known place.
func runtimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return dir
	}
	dir := "/run/user/" + strconv.Itoa(os.Getuid())
	if CheckPrivateDir(dir) == nil {
		return dir
	}
	return ""
}

// shortSocket names a socket for a profile whose own path is too long. The
// name is a digest of the directory, so that two profiles never meet.
func shortSocket(data string) string {
	sum := sha256.Sum256([]byte(data))
	name := hex.EncodeToString(sum[:8]) + ".sock"
	if run := runtimeDir(); run != "" {
		if s := filepath.Join(run, appName, name); len(s) <= maxSocketPath {
			return s
		}
	}
	return filepath.Join("/tmp", appName+"-"+strconv.Itoa(os.Getuid()), name)
}
