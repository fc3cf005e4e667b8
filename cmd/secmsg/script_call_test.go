package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
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

// picturesPath makes a second of pictures, VP8 in IVF, and returns its path;
// scripts have it as $PICTURES. Each frame is the beginning of a key frame: nobody
// decodes them.
func picturesPath(t *testing.T, dir string) string {
	t.Helper()
	const width, height, rate, frames = 64, 48, 25, 25
	b := append([]byte("DKIF"), 0, 0, 32, 0)
	b = append(b, "VP80"...)
	b = binary.LittleEndian.AppendUint16(b, width)
	b = binary.LittleEndian.AppendUint16(b, height)
	for _, v := range []uint32{rate, 1, frames, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for i := range uint64(frames) {
		frame := append([]byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, width, 0, height, 0}, make([]byte, 300)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint64(b, i)
		b = append(b, frame...)
	}
	path := filepath.Join(dir, "pictures.ivf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
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
