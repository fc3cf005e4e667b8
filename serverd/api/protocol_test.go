package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/wire"
)

func readProtocol(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "rpc", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wireConstants returns the exported constants of package wire with the given type ("" for untyped), by
// name, each with its value as written in the source.
func wireConstants(t *testing.T, typ string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "rpc", "wire", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".pb.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				of, _ := v.Type.(*ast.Ident)
				if !v.Names[0].IsExported() || (of == nil) != (typ == "") || of != nil && of.Name != typ {
					continue
				}
				value := ""
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					value = lit.Value
				}
				out[v.Names[0].Name] = value
			}
		}
	}
	return out
}

// TestProtocolHasAllCodes checks that every code of the REST API is in the table of PROTOCOL.md with
// its status, and in the OpenAPI document.
func TestProtocolHasAllCodes(t *testing.T) {
	text := readProtocol(t)
	golden, err := os.ReadFile(filepath.Join("testdata", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	codes := wireConstants(t, "Code")
	if len(codes) < 15 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	for name, quoted := range codes {
		code, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		row := regexp.MustCompile("(?m)^\\| `" + code + "` \\| " + strconv.Itoa(wire.Code(code).Status()) + `\b`)
		if !row.MatchString(text) {
			t.Errorf("PROTOCOL.md has no row for %s with status %d", code, wire.Code(code).Status())
		}
		if !strings.Contains(string(golden), "            \""+code+"\"") {
			t.Errorf("the OpenAPI document does not name %s", code)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [45]\\d\\d").FindAllStringSubmatch(text, -1) {
		if !slices.Contains(slices.Collect(maps.Values(codes)), strconv.Quote(m[1])) {
			t.Errorf("PROTOCOL.md has a code that does not exist: %s", m[1])
		}
	}
	for _, typ := range []string{"Role", "Relation"} {
		for name, quoted := range wireConstants(t, typ) {
			if value, err := strconv.Unquote(quoted); err != nil || !strings.Contains(text, "`"+value+"`") {
				t.Errorf("PROTOCOL.md does not name %s", name)
			}
		}
	}
}

// TestProtocolHasAllReasons does the same for the reasons and classes of frames.
func TestProtocolHasAllReasons(t *testing.T) {
	text := readProtocol(t)
	for _, names := range []map[int32]string{wire.Reason_name, wire.Class_name} {
		for n, name := range names {
			_, short, _ := strings.Cut(name, "_")
			if n != 0 && !regexp.MustCompile("[`{]"+short+"[`}]").MatchString(text) {
				t.Errorf("PROTOCOL.md does not name %s", name)
			}
		}
	}
}

// TestProtocolHasAllRoutes does the same for the routes.
func TestProtocolHasAllRoutes(t *testing.T) {
	text := readProtocol(t)
	routes := []string{"GET /v1/contact", "GET /v1/replica", "GET /healthz", "GET /v1/openapi.json", "PUT /v1/blobdata/{id}", "GET /v1/blobdata/{id}"}
	for route := range routeTexts() {
		routes = append(routes, route)
	}
	for _, route := range routes {
		if !regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(route) + "[`?]").MatchString(text) {
			t.Errorf("PROTOCOL.md has no row for %s", route)
		}
	}
}

// TestProtocolHasAllLimits checks that every limit that client and server share is in PROTOCOL.md with
// its value, in a phrase that is specific to that limit.
func TestProtocolHasAllLimits(t *testing.T) {
	text := strings.Join(strings.Fields(readProtocol(t)), " ")
	kib := func(n int) string { return strconv.Itoa(n>>10) + " KiB" }
	mib := func(n int) string { return strconv.Itoa(n>>20) + " MiB" }
	thousands := func(n int) string {
		s := strconv.Itoa(n)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	}
	minutes := func(d time.Duration) string { return strconv.Itoa(int(d.Minutes())) + " minutes" }
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) + " s" }
	words := map[string]string{
		"ProtocolVersion": "`Secmsg-Protocol: " + strconv.Itoa(wire.ProtocolVersion) + "`",
		"MaxFrame":        "a WebSocket message (frame) | " + kib(wire.MaxFrame), "MaxCiphertext": "a ciphertext | " + kib(wire.MaxCiphertext),
		"MaxRequestCiphertext": kib(wire.MaxRequestCiphertext) + " for each device in a stranger's request",
		"MaxBatch":             "envelopes in a `Send` or `Deliver` | " + strconv.Itoa(wire.MaxBatch),
		"MaxSubscribe":         "accounts in a `Subscribe` | " + thousands(wire.MaxSubscribe),
		"MaxBody":              "a REST body, and its values | " + kib(wire.MaxBody) + ", " + thousands(wire.MaxValues),
		"MaxValues":            "levels and " + thousands(wire.MaxValues) + " values",
		"MaxDevices":           "devices of an account | " + strconv.Itoa(wire.MaxDevices),
		"PingInterval":         "The server pings every " + seconds(wire.PingInterval), "WriteTimeout": "A write takes at most " + seconds(wire.WriteTimeout),
		"TokenLife":        "lifetime of a ticket, of a token, of TURN credentials | " + minutes(wire.BlobTicketLife) + ", " + minutes(wire.TokenLife) + ", " + minutes(wire.MaxTurnLife),
		"MailboxRetention": strconv.Itoa(int(wire.MailboxRetention.Hours()/24)) + " days |",
		"ByeOtherCopy":     "`" + wire.ByeOtherCopy + "`",
		"BlobPartSize":     thousands(wire.MaxBlobParts) + " of at most " + mib(wire.BlobPartSize) + " and 4 KiB, all except the last of at least " + mib(wire.MinBlobPart),
		"MaxBlobParts":     "At most " + thousands(wire.MaxBlobParts) + " parts", "MaxBlobReaders": "at most " + strconv.Itoa(wire.MaxBlobReaders) + " readers",
		"MaxBlobTickets": strconv.Itoa(wire.MaxBlobTickets) + " tickets per call", "MinBlobPart": "at least " + mib(wire.MinBlobPart),
		"BlobTicketLife": "**Tickets** are valid for " + minutes(wire.BlobTicketLife), "PathBlobData": wire.PathBlobData + "{id}",
		"MaxTurnURLs": "TURN URLs in an answer, bytes of each text in it | " + strconv.Itoa(wire.MaxTurnURLs) + ", " + strconv.Itoa(wire.MaxTurnText),
		"MaxTurnText": strconv.Itoa(wire.MaxTurnText) + " |", "MaxTurnLife": "valid for at most " + minutes(wire.MaxTurnLife),
		"MaxTime": "from 0 to " + strconv.Itoa(wire.MaxTime), "MaxRetryAfter": "A client waits at most " + minutes(wire.MaxRetryAfter),
		"MaxManifests": "manifests in an answer | " + strconv.Itoa(wire.MaxManifests),
	}
	for name := range wireConstants(t, "") {
		want, ok := words[name]
		if !ok {
			t.Errorf("the constant wire.%s is new: write it into PROTOCOL.md and into this test", name)
			continue
		}
		if !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not say %q (wire.%s)", want, name)
		}
		delete(words, name)
	}
	for name := range words {
		t.Errorf("there is no constant wire.%s", name)
	}
}
