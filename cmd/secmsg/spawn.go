package main

import (
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
	program, args, err := a.daemonCommand()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
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

// daemonCommand is the command line of the profile's daemon. The program is
// named as this one was called, so that the daemon of a link that an upgrade
// changes can tell that it has been replaced.
func (a *app) daemonCommand() (program string, args []string, err error) {
	if program, err = calledName(os.Args[0]); err != nil {
		return "", nil, err
	}
	args = []string{"--output", outputJSON}
	if a.home != "" {
		paths, err := config.ResolvePaths(a.home)
		if err != nil {
			return "", nil, configError(err)
		}
		args = append(args, "--home", paths.Home)
	}
	return program, append(args, "daemon", "run"), nil
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
