package schema_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"secmsg/rpc/local/schema"
)

const document = "../../LOCAL.md"

// TestDocument compares rpc/LOCAL.md with the types. It rewrites the generated
// sections if UPDATE_GOLDEN is set. Read fails for everything without a description.
func TestDocument(t *testing.T) {
	c, err := schema.Read(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	want, err := c.Fill(string(b))
	if err != nil {
		t.Fatal(err)
	}
	if want == string(b) {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Error("rpc/LOCAL.md differs from the types and comments of rpc/local: run UPDATE_GOLDEN=1 go test ./rpc/local/schema and look at the difference")
}

// TestMissingDescriptions removes one description of each kind, which Read must report.
func TestMissingDescriptions(t *testing.T) {
	source := func(t *testing.T, from, to string) fstest.MapFS {
		t.Helper()
		out, found := fstest.MapFS{}, false
		names, err := fs.Glob(os.DirFS(".."), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(b), from)
			out[name] = &fstest.MapFile{Data: []byte(strings.Replace(string(b), from, to, 1))}
		}
		if !found {
			t.Fatalf("%q is not in the source", from)
		}
		return out
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"method":       {"	// MethodAccountDefault makes an account the default one.\n", "", "method account.default (MethodAccountDefault) has no description"},
		"notification": {"	// NotifyEvent carries one event, in the order of seq.\n", "", "notification event (NotifyEvent) has no description"},
		"event":        {"// a mutual contact came online or left", "", "event type presence (TypePresence) has no description"},
		"code":         {"// 2: unexpected internal error", "// 2", "error code internal (CodeInternal) has no exit code or no description"},
		"exit code":    {"// 2: unexpected internal error", "// unexpected internal error", "error code internal (CodeInternal) has no exit code or no description"},
		"cause":        {"// a disk is full or failed", "", `value "disk" (CauseDisk) has no description`},
		"value":        {"// media flow\n", "\n", `value "connected" (CallConnected) has no description`},
		"member":       {"// number of packets\n", "\n", "CallStream.Packets (packets) has no description"},
		"type":         {"// HeldMail counts messages of a peer that are not shown.\n", "", "type HeldMail has no description"},
		"new set":      {"// Trust states of a peer.\nconst (\n", "// Trust states of a peer.\nconst (\n\tNew = \"new\"\n)\n\n// More.\nconst (\n", "the string constant New is in no set of values"},
		"new method":   {"	MethodDeviceList = \"device.list\"\n", "	MethodDeviceList = \"device.list\"\n	MethodNew = \"new.method\"\n", "constants Method*"},
		"reference":    {"[NotifyLink].", "[NotifyLinks].", "names [NotifyLinks], which does not exist"},
		"name of Go":   {"// Links asks for [NotifyLink].", "// Links asks for NotifyLink.", "write [NotifyLink]"},
		"error":        {"Errors: refused: with if_idle", "Errors: denied: with if_idle", `"denied" is no error code`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := schema.Read(source(t, c.from, c.to)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
