package main

import (
	"os"
	"os/exec"
	"strings"

	"secmsg/config"
	"secmsg/rpc/local"
)

// spawnDaemon starts `secmsg daemon run` in a new session. Its output goes to the log.
// It inherits nothing else from the caller: no descriptors, not the working directory,
// and only those environment variables that daemonEnv keeps.
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
		return nil, local.Errorf(local.CodeNoDaemon, "cannot start the daemon: %v", err)
	}
	return &process{pid: cmd.Process.Pid}, nil
}

// daemonCommand is the command line of the profile's daemon. It uses the path by which
// this program was called. If that is a link that an upgrade changes, the daemon can
// tell that its binary was replaced.
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

// daemonEnv keeps the variables that a daemon needs. A daemon outlives the command that
// started it, so it must not hold that command's secrets, nor NOTIFY_SOCKET and the
// like, which would let it speak for the command's unit.
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
