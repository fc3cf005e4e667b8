package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxSocketPath is the longest path that is used for a Unix socket. The
	// kernel's limit is 108 bytes on Linux and 104 on the BSDs and macOS.
	maxSocketPath = 100
	// maxPointer bounds the file that names the socket.
	maxPointer = 4096

	socketName = "secmsg.sock"
)

// Places lists where a daemon of this profile may make its socket, the best
// place first. The list depends on the environment of the caller and on the
// directories that exist at the moment: a cron job and a login shell have
// different ones, and a runtime directory comes and goes with the sessions of
// its user. Therefore a daemon tells where it listens with Announce, and takes
// another place when it loses one.
func (p Paths) Places() []string {
	var all []string
	add := func(path string) {
		if len(path) <= maxSocketPath && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	run := runtimeDirs()
	if p.Home == "" {
		for _, dir := range run {
			add(filepath.Join(dir, appName, socketName))
		}
	}
	add(filepath.Join(p.Data, socketName))
	// The profile's path may be too long for a socket, and its file system may
	// take none. The name is a digest of the profile's directory, so that two
	// profiles never meet.
	sum := sha256.Sum256([]byte(p.Data))
	digest := hex.EncodeToString(sum[:8]) + ".sock"
	for _, dir := range run {
		add(filepath.Join(dir, appName, digest))
	}
	add(filepath.Join("/tmp", appName+"-"+strconv.Itoa(os.Geteuid()), digest))
	return all
}

// Sockets lists where a client looks for the daemon of this profile: first the
// place that a daemon announced, then all others where one may be.
func (p Paths) Sockets() []string {
	all := p.Places()
	if s := p.announced(); s != "" {
		all = append([]string{s}, slices.DeleteFunc(all, func(path string) bool { return path == s })...)
	}
	return all
}

// Announce records that the daemon listens on socket.
func (p Paths) Announce(socket string) error {
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
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPointer {
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

// runtimeDirs lists the user's runtime directories that exist: the one that the
// environment names, and the well-known one, which a job outside of any session
// shares with the user's sessions. A directory of somebody else is none: sudo
// and su may leave the variable of another user behind.
func runtimeDirs() []string {
	var all []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && checkOwner(dir, info) == nil {
			all = append(all, filepath.Clean(dir))
		}
	}
	if dir := UserRuntimeDir(); CheckPrivateDir(dir) == nil && !slices.Contains(all, dir) {
		all = append(all, dir)
	}
	return all
}

// UserRuntimeDir is where systemd-logind makes the caller's runtime directory.
func UserRuntimeDir() string { return "/run/user/" + strconv.Itoa(os.Geteuid()) }
