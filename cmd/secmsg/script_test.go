package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // for the command sqlite
)

// patience bounds every wait of a script.
const patience = 2 * time.Minute

// TestScripts runs testdata/script/*.txtar against real processes. Besides the
// commands of testscript there are:
//
//	serve [VAR=VALUE...]      make a server in $WORK/s if there is none, and run it
//	kill9 server|DIR          kill -9 the server, or the daemon of profile DIR, and wait for its end
//	invite VAR                set VAR to a fresh invite
//	join DIR NAME             make an account in a new profile
//	exits N CMD ARGS...       run CMD; its exit code must be N
//	eventually CMD ARGS...    run CMD until it succeeds
//	fields FIELD=VALUE...     compare fields (a.b for nested ones) of the last line of JSON that was printed; * is any value
//	setfield VAR FIELD        set VAR from that line
//	lines N                   standard output has N lines
//	asOther FILE              give FILE to another user
//	sqlite FILE STATEMENT     run a statement in a database
//	mkfile FILE SIZE          make a file of that many bytes that look random, the same each time
//	same FILE FILE            the two files have the same bytes
//	friends DIR NAME DIR NAME make two users contacts of each other
//	private FILE              only its owner may read or write FILE, and nobody run it
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, secmsgBinary(t), "testdata/script")
}

// TestRaceScript runs the first story on a binary with the race detector.
func TestRaceScript(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "secmsg")
	if out, err := exec.Command("go", "build", "-race", "-ldflags", groupsTwice, "-o", bin, ".").CombinedOutput(); err != nil {
		t.Skipf("no race detector here: %v\n%s", err, out)
	}
	story := filepath.Join(dir, "script")
	if err := os.Mkdir(story, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/script/story.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(story, "story.txtar"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	runScripts(t, bin, story)
}

func runScripts(t *testing.T, bin, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			r := &realm{bin: bin, work: env.WorkDir}
			env.Values[realmKey{}] = r
			env.Defer(func() { r.cleanUp(t) })
			env.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("SECMSG_NO_MANAGER", "1") // the tests must not use the systemd of the user who runs them
			env.Setenv("TONE", tonePath(t))
			env.Setenv("PICTURES", picturesPath(t, env.WorkDir))
			env.Setenv("GORACE", "halt_on_error=1 exitcode=66")
			env.Setenv("SECMSG_INTERVALS_RECONNECT_MIN", "20ms")
			env.Setenv("SECMSG_INTERVALS_RECONNECT_MAX", "200ms")
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":      cmdServe,
			"kill9":      cmdKill9,
			"invite":     cmdInvite,
			"join":       cmdJoin,
			"exits":      cmdExits,
			"eventually": cmdEventually,
			"fields":     cmdFields,
			"setfield":   cmdSetField,
			"lines":      cmdLines,
			"asOther":    cmdAsOther,
			"sqlite":     cmdSQLite,
			"mkfile":     cmdMakeFile,
			"same":       cmdSame,
			"private":    cmdPrivate,
			"friends":    cmdFriends,
		},
	})
}

// realm is the server of one script.
type realm struct {
	bin  string
	work string

	listen string
	server *exec.Cmd
	ended  chan struct{}
	log    bytes.Buffer
}

type realmKey struct{}

func realmOf(ts *testscript.TestScript) *realm { return ts.Value(realmKey{}).(*realm) }

func (r *realm) data() string { return filepath.Join(r.work, "s") }

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	r := realmOf(ts)
	if r.listen == "" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		r.listen = ln.Addr().String()
		ts.Check(ln.Close())
		ts.Check(ts.Exec(r.bin, "serverd", "init", "--domain", "localhost", "--address", r.listen, "--data", r.data(), "-o", "json"))
		ts.Setenv("SERVER", r.listen)
		ts.Setenv("DATA", r.data())
	}
	cmd := exec.Command(r.bin, "serverd", "run", "--data", r.data(), "--listen", r.listen)
	// A script on a fast machine makes more connections a second than a person does.
	cmd.Env = append(append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66", "SECMSG_LIMITS_CONNECTIONS_NEW_BURST=10000"), args...)
	cmd.Stderr = &r.log
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	r.server, r.ended = cmd, ended
	poll(ts, "the server answers", func() bool {
		c, err := net.Dial("tcp", r.listen)
		if err == nil {
			_ = c.Close()
		}
		return err == nil && exec.Command(r.bin, "admin", "user", "list", "--data", r.data()).Run() == nil
	})
}

func cmdKill9(ts *testscript.TestScript, neg bool, args []string) {
	r := realmOf(ts)
	if args[0] == "server" {
		ts.Check(r.server.Process.Kill())
		<-r.ended
		return
	}
	pid := daemonPID(ts, args[0])
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	poll(ts, "the daemon is gone", func() bool { return !alive(pid) || zombie(pid) })
}

// daemonPID asks the daemon of a profile.
func daemonPID(ts *testscript.TestScript, dir string) int {
	out, err := exec.Command(realmOf(ts).bin, "--home", ts.MkAbs(dir), "daemon", "status", "-o", "json").Output()
	ts.Check(err)
	var st struct{ PID int }
	ts.Check(json.Unmarshal(out, &st))
	return st.PID
}

func cmdInvite(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[0], freshInvite(ts))
}

func freshInvite(ts *testscript.TestScript) string {
	r := realmOf(ts)
	out, err := exec.Command(r.bin, "admin", "invite", "create", "-o", "json", "--data", r.data()).Output()
	ts.Check(err)
	var made struct{ Invite string }
	ts.Check(json.Unmarshal(out, &made))
	return made.Invite
}

func cmdJoin(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(ts.Exec(realmOf(ts).bin, "--home", ts.MkAbs(args[0]), "join", freshInvite(ts), "--name", args[1], "--device-name", "test"))
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit %d, want %d", got, want)
	}
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	poll(ts, strings.Join(args, " "), func() bool { return ts.Exec(args[0], args[1:]...) == nil })
}

// poll waits for a condition that another process makes true.
func poll(ts *testscript.TestScript, what string, ok func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("did not come true: %s", what)
		}
	}
}

// lastJSON returns the last object that was printed, on standard output or, if
// that is empty, on standard error.
func lastJSON(ts *testscript.TestScript) map[string]any {
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if text == "" {
		text = strings.TrimSpace(ts.ReadFile("stderr"))
	}
	lines := strings.Split(text, "\n")
	var v map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &v); err != nil {
		ts.Fatalf("not JSON: %v: %s", err, lines[len(lines)-1])
	}
	return v
}

// field finds a.b.0 in an object.
func field(v any, path string) (string, bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[name]
			if !ok {
				return "", false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(node) {
				return "", false
			}
			v = node[i]
		default:
			return "", false
		}
	}
	if s, ok := v.(string); ok {
		return s, true
	}
	b, err := json.Marshal(v)
	return string(b), err == nil
}

func cmdFields(ts *testscript.TestScript, neg bool, args []string) {
	v := lastJSON(ts)
	for _, arg := range args {
		path, want, _ := strings.Cut(arg, "=")
		got, ok := field(v, path)
		if !ok || want != "*" && got != want {
			ts.Fatalf("%s is %q (present: %v), want %q", path, got, ok, want)
		}
	}
}

func cmdSetField(ts *testscript.TestScript, neg bool, args []string) {
	got, ok := field(lastJSON(ts), args[1])
	if !ok {
		ts.Fatalf("no field %s", args[1])
	}
	ts.Setenv(args[0], got)
}

func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile("stdout"), "\n"); got != want {
		ts.Fatalf("%d lines, want %d", got, want)
	}
}

// cmdAsOther gives a file to another user; only root can, so a script asks for [root] first.
func cmdAsOther(ts *testscript.TestScript, neg bool, args []string) {
	const other = 65534
	for _, name := range args {
		ts.Check(os.Lchown(ts.MkAbs(name), other, other))
	}
}

func cmdSQLite(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(err)
	ts.Check(db.Close())
}

// cleanUp stops every process of the script, and asserts that a server that
// still runs ends cleanly on SIGTERM.
func (r *realm) cleanUp(t *testing.T) {
	for _, dir := range r.profiles() {
		_ = exec.Command(r.bin, "--home", dir, "daemon", "stop").Run()
	}
	if r.server == nil {
		return
	}
	select {
	case <-r.ended:
		return // killed by the script
	default:
	}
	_ = r.server.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
		if code := r.server.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the server ended with %d:\n%s", code, r.log.String())
		}
	case <-time.After(patience):
		_ = r.server.Process.Kill()
		<-r.ended
		t.Error("the server did not end on SIGTERM")
	}
}

// profiles finds the directories that hold a profile.
func (r *realm) profiles() []string {
	var dirs []string
	for _, pattern := range []string{"*/daemon.lock", "*/*/daemon.lock"} {
		found, _ := filepath.Glob(filepath.Join(r.work, pattern))
		for _, f := range found {
			dirs = append(dirs, filepath.Dir(f))
		}
	}
	return dirs
}
