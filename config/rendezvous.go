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
	// maxSocketPath is the longest path of a Unix socket that is used. The kernel's
	// limit is 108 bytes on Linux and 104 on the BSDs and macOS.
	maxSocketPath = 100
	// maxPointer bounds the file that names the socket.
	maxPointer = 4096

	socketName = "secmsg.sock"
)

// Places lists the paths where a daemon of this profile may create its socket, the best
// first. The list depends on the caller's environment and on the directories that exist
// at the moment: a cron job and a login shell have different environments, and a
// runtime directory comes and goes with the sessions of its user. So a daemon announces
// the path that it uses, and moves to another one if it loses its socket.
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
	// The path of the profile may be too long for a socket, or its file system may not
	// support sockets. The digest of the profile's directory keeps the sockets of
	// different profiles apart.
	sum := sha256.Sum256([]byte(p.Data))
	digest := hex.EncodeToString(sum[:8]) + ".sock"
	for _, dir := range run {
		add(filepath.Join(dir, appName, digest))
	}
	add(filepath.Join("/tmp", appName+"-"+strconv.Itoa(os.Geteuid()), digest))
	return all
}

// Sockets lists the paths where a client looks for the daemon of this profile: first
// the announced one, then all other places.
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

// runtimeDirs lists the existing runtime directories of the user: the one that the
// environment names, and the well-known one, through which a job outside of any session
// finds the daemon of the user's sessions. The environment may still name the directory
// of another user, under sudo or su; that one is ignored.
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
