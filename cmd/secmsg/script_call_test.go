package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"secmsg/rpc/local"
)

// tonePath is a second of a tone of 1 kHz, Opus in Ogg; scripts have it as $TONE.
func tonePath(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "daemon", "media", "tone.ogg"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// cmdFriends makes two users contacts of each other, and waits until both know.
func cmdFriends(ts *testscript.TestScript, neg bool, args []string) {
	bin := realmOf(ts).bin
	home := func(i int) string { return ts.MkAbs(args[i]) }
	ts.Check(ts.Exec(bin, "--home", home(0), "contact", "add", args[3]))
	ts.Check(ts.Exec(bin, "--home", home(2), "contact", "add", args[1]))
	for _, of := range [][2]string{{home(0), args[3]}, {home(2), args[1]}} {
		poll(ts, "contacts of each other", func() bool {
			out, err := exec.Command(bin, "--home", of[0], "presence", of[1], "-o", "json").Output()
			var p local.Presence
			return err == nil && json.Unmarshal(out, &p) == nil && p.Mutual
		})
	}
}
