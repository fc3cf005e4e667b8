package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"secmsg/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOrderOfSources(t *testing.T) {
	path := write(t, "domain: file.example\nlisten: \":1\"\nlimits:\n  mailbox:\n    bytes: 3MiB\n    retention: 2d\n  bundles: {burst: 9}\n")
	t.Setenv("SECMSG_LISTEN", ":2")
	t.Setenv("SECMSG_LIMITS_MAILBOX_ENVELOPES", "77")
	t.Setenv("SECMSG_ROLES", "api")
	t.Setenv("SECMSG_EVENT_ID", "a handler's variable is no configuration")
	s, err := config.LoadServer("/data", path, map[string]any{"domain": "flag.example"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Domain != "flag.example" || s.Listen != ":2" || s.Data != "/data" || len(s.Roles) != 1 {
		t.Errorf("got %+v", s)
	}
	l := s.Limits
	if l.Mailbox.Bytes != 3<<20 || l.Mailbox.Retention != 48*time.Hour || l.Mailbox.Envelopes != 77 {
		t.Errorf("mailbox %+v", l.Mailbox)
	}
	if l.Bundles != (config.Rate{Burst: 9, Every: 10 * time.Minute}) {
		t.Errorf("bundles %+v: the default of the other field is lost", l.Bundles)
	}
}

// TestEverythingWrongIsReportedAtOnce checks the whole report: a line for each problem, in
// the order of the file, both for broken rules and for values that cannot be read.
func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	path := write(t, `domian: x
listen: {a: b}
Address: h:1
limits:
  ping: fast
  sweep: 5
  mailbox: 7
  contacts: many
  lookups: {brust: 1}
  token_life: 0s
roles:
  - foo
  - api
  - bar
roles: [api]
"a\nb\u202e": 1
log: {}
tls:
  key: k
blob: {dir: {}}
turn: {external: &a [x], secret: *a}
`)
	t.Setenv("SECMSG_LIMITS_MAILBOX_BYTES", "1 banana")
	t.Setenv("SECMSG_LOG_LEVEL", "loud")
	_, err := config.LoadServer("/data", path, map[string]any{"limits.idle": "-1s"})
	bad, ok := errors.AsType[*config.Invalid](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	want := []string{
		`SECMSG_LIMITS_MAILBOX_BYTES: `,
		`SECMSG_LOG_LEVEL: "loud" is not one of`,
		`FILE: domain: missing`,
		`limits.idle: "-1s" is not a duration`,
		`FILE:1: domian: unknown key`,
		`FILE:2: listen: expected a value, not a section`,
		`FILE:3: Address: unknown key; did you mean address?`,
		`FILE:5: limits.ping: "fast" is not a duration`,
		`FILE:6: limits.sweep: 5 is not a duration`,
		`FILE:7: limits.mailbox: expected a section, not a value`,
		`FILE:8: limits.contacts: `,
		`FILE:9: limits.lookups.brust: unknown key`,
		`FILE:10: limits.token_life: must be greater than zero`,
		`FILE:11: roles: "foo" is not one of api, relay, media`,
		`FILE:11: roles: "bar" is not one of api, relay, media`,
		`FILE:15: roles: already set on line 11`,
		`FILE:16: "a\nb\u202e": unknown key`,
		`FILE:19: tls.cert, tls.key: only one`,
		`FILE:20: blob.dir: expected a value`,
		`FILE:21: turn.external: "x" is not`,
		`FILE:21: turn.secret: aliases`,
	}
	got := strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
	if len(got) != len(bad.Problems) {
		t.Errorf("%d lines for %d problems", len(got), len(bad.Problems))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i])
		case !strings.HasPrefix(got[i], want[i]):
			t.Errorf("line %d is %s, want %s", i+1, got[i], want[i])
		}
	}
}

// TestClientReport is the same for the configuration of a profile.
func TestClientReport(t *testing.T) {
	home := t.TempDir()
	text := "output: xml\nintervals:\n  ping: 0s\nproxy: \"ftp://user:geheim@h\"\nfiles: {dir: here}\nnonsense: 1\n"
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.LoadClient(home, nil)
	bad, ok := errors.AsType[*config.Invalid](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{"1: output: ", "3: intervals.ping: ", "4: proxy: not a URL such as http://", "5: files.dir: ", "6: nonsense: unknown key"} {
		if i >= len(bad.Lines()) || !strings.Contains(bad.Lines()[i], "config.yaml:"+want) {
			t.Errorf("no line with %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "geheim") {
		t.Errorf("the report holds a password: %v", err)
	}
}

// TestOddFiles loads unusual files: empty, several documents, other kinds of YAML.
func TestOddFiles(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "# nothing\n": "", "---\n": "", "domain: d\n---\ndomain: e\n": "only one document is allowed", "- domain\n": "expected lines of the form key: value",
		"domain: d\nlimits:\n": "", "domain: d\nlisten: ~\n": "", "domain: d\nlimits: {}\n": "", "just text": "expected lines of the form key: value",
		"domain: d\nlimits.ping: 3s\n": "not a valid key", "domain: \"\x01\"": "not valid YAML", "domain: d\n<<: {listen: x}\n": "not a valid key",
		"domain: d\nlimits: 3\n": "expected a section", "domain: d\nroles: [[api]]\n": "roles", "? [a]\n: b\n": "not a valid key",
	} {
		t.Setenv("SECMSG_DOMAIN", "")
		if text == "" || text[0] == '#' || text == "---\n" {
			t.Setenv("SECMSG_DOMAIN", "d")
		}
		_, err := config.LoadServer("/d", write(t, text), nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// TestNothingIsConverted: a value of the wrong type is refused instead of converted, with an
// error about the file, not about Go types.
func TestNothingIsConverted(t *testing.T) {
	for text, want := range map[string]string{
		"listen: true": "expected text", "listen: 2024-01-01": "not a date", "listen: [a]": "not a list", "listen: {a: b}": "not a section",
		"roles: [[api]]": "not a list", "roles: [true]": "expected text", "tls: {also: [{a: b}]}": "not a section",
		"limits: {connections: {total: 1.7}}": "not a whole number", "limits: {connections: {total: true}}": "not a whole number",
		"limits: {connections: {total: abc}}": "not a whole number", "limits: {connections: {total: [1]}}": "not a list",
		"limits: {connections: {total: 1e30}}": "not a whole number", "limits: {connections: {total: 99999999999999999999}}": "not a whole number",
		"limits: {connections: {total: 0x1z}}": "not a whole number", "limits: {connections: {total: -1}}": "limits.connections.total",
	} {
		t.Setenv("SECMSG_DOMAIN", "")
		_, err := config.LoadServer("/d", write(t, "domain: d\n"+text+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ":2: ") {
			t.Errorf("%q: got %v, want %q and its line", text, err, want)
		} else if strings.ContainsAny(err.Error(), "'") || strings.Contains(err.Error(), "interface") || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%q: words of Go: %v", text, err)
		}
	}
	if cfg, err := config.LoadServer("/d", write(t, "domain: d\nlimits: {connections: {total: 1e3}}\n"), nil); err != nil || cfg.Limits.Connections.Total != 1000 {
		t.Errorf("1e3: %v", err)
	}
}

func TestRules(t *testing.T) {
	for text, want := range map[string]string{
		"listen: \"\"":                                  "domain: missing",
		"domain: d\nlisten: \"\"":                       "no listener",
		"domain: d\nlisten_plain: 0.0.0.0:80":           "listen_plain",
		"domain: d\nlisten_plain: example.com:80":       "listen_plain",
		"domain: d\ntls: {cert: x}":                     "only one",
		"domain: d\nroles: [mail]":                      "roles",
		"domain: d\nlimits: {ping: 0s}":                 "limits.ping",
		"domain: d\nlimits: {ping: -1s}":                "limits.ping",
		"domain: d\nlog: {level: loud}":                 "log.level",
		"domain: d\naddress: nowhere":                   "address",
		"domain: d\ndomain: e":                          "already set on line 1",
		"domain: [":                                     "not valid YAML",
		"domain: d\nlimits: {mailbox: {envelopes: -5}}": "limits.mailbox.envelopes",
		"domain: d\nlimits: {blobs: {bandwidth: 1KiB}}": "limits.blobs.bandwidth: must be 0 or at least 1MiB",
		"domain: d\nblob: {s3: {endpoint: \"https://s3\"}}\nlimits: {blobs: {bandwidth: 1MiB}}": "limits.blobs.bandwidth: cannot be set with S3",
	} {
		if _, err := config.LoadServer("/d", write(t, text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"domain: d\nlimits: {blobs: {bandwidth: 0}}", "domain: d\nlimits: {blobs: {bandwidth: 1MiB}}", "domain: d\nlisten_plain: 127.0.0.1:80", "domain: d\nlisten_plain: unix:/run/x", "domain: d\nlisten_plain: \"[::1]:80\""} {
		if _, err := config.LoadServer("/d", write(t, text), nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The sample must load, and with every # removed it must still give the defaults.
func TestSample(t *testing.T) {
	sample := config.SampleServer("chat.example.com", "chat.example.com:8443")
	plain, err := config.LoadServer("/d", write(t, sample), nil)
	if err != nil {
		t.Fatal(err)
	}
	active := regexp.MustCompile(`(?m)^#((?:  )*[a-z0-9_]+:)`).ReplaceAllString(sample, "$1")
	active = strings.Replace(active, `data: ""`, `data: "/d"`, 1)
	if !strings.Contains(active, "\nlimits:") {
		t.Fatal("nothing was uncommented")
	}
	full, err := config.LoadServer("/d", write(t, active), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, active)
	}
	if plain.Limits != full.Limits || plain.Limits != config.DefaultServer().Limits || full.Listen != ":8443" || len(full.Roles) != 3 {
		t.Errorf("the sample differs from the defaults:\n%+v", full)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]config.Size{"5": 5, "1KiB": 1 << 10, "100MiB": 100 << 20, "2 GiB": 2 << 30} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d %v", text, s, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "9999999999TiB", "KiB", "5kb"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %d", text, s)
		}
	}
	for _, d := range []time.Duration{time.Millisecond, 90 * time.Second, 2 * time.Hour, 240 * time.Hour} {
		if got, err := config.ParseDuration(config.FormatDuration(d)); err != nil || got != d {
			t.Errorf("%v: %v %v", d, got, err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := config.LoadServer("/d", "/nowhere/x.yaml", nil); err == nil {
		t.Error("a file that was named may not be missing")
	}
	t.Setenv("SECMSG_DOMAIN", "d")
	if _, err := config.LoadServer(t.TempDir(), "", nil); err != nil {
		t.Errorf("the default file may be missing: %v", err)
	}
}

// An incomplete section of a file store is refused, with the missing options.
func TestFileStore(t *testing.T) {
	const keys = ", access_key: a, secret_key: s"
	for s3, want := range map[string]string{
		"bucket: b":                                "blob.s3.endpoint: missing",
		"secret_key: s":                            "blob.s3.endpoint: missing",
		"endpoint: \"https://h\"" + keys:           "blob.s3.bucket: missing",
		"endpoint: \"https://h\", bucket: b":       "blob.s3.access_key: exactly one of this and access_key_file",
		"endpoint: \"http://h\", bucket: b" + keys: "must be an https URL",
		"endpoint: \"http://127.0.0.1.evil.example\", bucket: b" + keys: "must be an https URL",
		"endpoint: \"http://10.0.0.1\", bucket: b" + keys:               "must be an https URL",
		"endpoint: \"ftp://h\", bucket: b" + keys:                       "must be an https URL",
		"endpoint: \"h:9000\", bucket: b" + keys:                        "not https://HOST[:PORT]",
		"endpoint: \"https://u:p@h\", bucket: b" + keys:                 "not https://HOST[:PORT]",
		"endpoint: \"https://h/path\", bucket: b" + keys:                "not https://HOST[:PORT]",
		"endpoint: \"https://h?x=1\", bucket: b" + keys:                 "not https://HOST[:PORT]",
		"endpoint: \"https://\", bucket: b" + keys:                      "not https://HOST[:PORT]",
		"endpoint: \"https://:443\", bucket: b" + keys:                  "not https://HOST[:PORT]",
		"endpoint: \"https://h\", bucket: b, region: \"\"" + keys:       "blob.s3.region: missing",
		"endpoint: \"https://h\", bucket: b, secret_key_file: f" + keys: "blob.s3.secret_key: exactly one",
		"endpoint: \"https://h\", bucket: b, access_key_file: f" + keys: "blob.s3.access_key: exactly one",
		"endpoint: \"https://h\", bucket: b, prefix: \"../x/\"" + keys:  "blob.s3.prefix",
		"endpoint: \"https://h\", bucket: \"a/b\"" + keys:               "blob.s3.bucket",
		"endpoint: \"https://h\", bucket: b, prefix: \"/x/\"" + keys:    "blob.s3.prefix",
		"endpoint: \"https://h\", bucket: b, prefix: \"a//b/\"" + keys:  "blob.s3.prefix",
	} {
		_, err := config.LoadServer("/d", write(t, "domain: d\nblob: {s3: {"+s3+"}}"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", s3, err, want)
		}
	}
	for _, s3 := range []string{
		"endpoint: \"https://h:9000/\", bucket: b, prefix: \"realm/\"" + keys, "endpoint: \"http://[::1]:9000\", bucket: b" + keys,
		"endpoint: \"http://localhost:9000\", bucket: b, access_key_file: a, secret_key_file: s", "region: eu-1",
	} {
		if _, err := config.LoadServer("/d", write(t, "domain: d\nblob: {s3: {"+s3+"}}"), nil); err != nil {
			t.Errorf("%s: %v", s3, err)
		}
	}
	for text, want := range map[string]string{
		"size: 32GiB": "limits.blobs.size",
		"quota: 0":    "limits.blobs.quota", "stall: 0s": "limits.blobs.stall", "transfers: 0": "limits.blobs.transfers",
	} {
		if _, err := config.LoadServer("/d", write(t, "domain: d\nlimits: {blobs: {"+text+"}}"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
