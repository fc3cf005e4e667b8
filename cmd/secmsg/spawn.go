package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"secmsg/config"
	"secmsg/rpc/local"
)

// spawnDaemon starts `secmsg daemon run` in a session of its own. It gets the
// log as its output and nothing else of the caller's: no descriptor, no working
// directory, and of the environment only what daemonEnv lets through.
func (a *app) spawnDaemon(log *os.File) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the secmsg binary: %w", err)
	}
	args := []string{"--output", outputJSON}
	if a.home != "" {
		paths, err := config.ResolvePaths(a.home)
		if err != nil {
			return nil, err
		}
		args = append(args, "--home", paths.Home)
	}
	cmd := exec.Command(exe, append(args, "daemon", "run")...)
	cmd.Dir = "/"
	cmd.Env = daemonEnv(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownSession()
	keepDescriptors()
	if err := cmd.Start(); err != nil {
		return nil, local.Errorf(local.CodeNoDaemon, "start the daemon: %v", err)
	}
	return &process{pid: cmd.Process.Pid}, nil
}

// daemonEnv keeps what a daemon needs. It outlives the command that happened to
// start it, and must not carry that command's secrets, nor claim its place with
// the service manager.
func daemonEnv(env []string) []string {
	keep := []string{"HOME=", "USER=", "LOGNAME=", "PATH=", "LANG=", "LC_", "TZ=", "TMPDIR=", "XDG_", "SECMSG_",
		"GODEBUG=", "GOTRACEBACK=", "GORACE=", "GOCOVERDIR=", "GOMEMLIMIT=", "GOMAXPROCS=", "SYSTEMROOT=", "USERPROFILE="}
	drop := []string{"SECMSG_EVENT_", "SECMSG_OUTPUT="}
	var out []string
	for _, v := range env {
		if hasPrefix(v, keep) && !hasPrefix(v, drop) {
			out = append(out, v)
		}
	}
	return out
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
