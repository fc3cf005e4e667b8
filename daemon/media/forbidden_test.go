package media

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// forbidden are settings of the WebRTC library that must not be used, and why.
func forbidden() map[string]string {
	return map[string]string{
		"DisableCertificateFingerprintVerification": "any certificate would pass DTLS",
		"SetDTLSInsecureSkipHelloVerify":            "anybody could make us answer to a forged address",
		"WithInsecureSkipVerifyHello":               "anybody could make us answer to a forged address",
		"InsecureSkipVerifyHello":                   "anybody could make us answer to a forged address",
		"SetDTLSKeyLogWriter":                       "it writes down the keys of calls",
		"DisableSRTPReplayProtection":               "captured packets could be sent again",
		"DisableSRTCPReplayProtection":              "captured reports could be sent again",
		"SetDTLSClientHelloMessageHook":             "it changes the handshake",
		"SetDTLSServerHelloMessageHook":             "it changes the handshake",
		"SetDTLSCertificateRequestMessageHook":      "it changes the handshake",
		"SetDTLSCustomerCipherSuites":               "it takes ciphers that the library does not",
		"SetICETCPMux":                              "calls listen on no port that is known",
		"SetICEUDPMux":                              "calls of one host could be told to belong together",
		"SetMulticastDNSHostName":                   "it announces this host",
		"NewDefaultLoggerFactory":                   "the library's log has addresses and SDP",
	}
}

// uses returns the forbidden names in a file, with their positions.
func uses(files *token.FileSet, f *ast.File) []string {
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			if why, bad := forbidden()[id.Name]; bad {
				out = append(out, files.Position(id.Pos()).String()+": "+id.Name+": "+why)
			}
		}
		return true
	})
	return out
}

// suspect reports whether a file is worth parsing.
func suspect(b []byte) bool {
	for name := range forbidden() {
		if bytes.Contains(b, []byte(name)) {
			return true
		}
	}
	return bytes.Contains(b, []byte("github.com/pion/webrtc"))
}

// F4 in crypto/ATTACKS.md: settings that disable protections of a call are not used
// anywhere in this repository.
func TestForbiddenSettings(t *testing.T) {
	files := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == ".git" || name == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil || !suspect(b) {
			return err
		}
		f, err := parser.ParseFile(files, path, b, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, use := range uses(files, f) {
			t.Error(use)
		}
		for _, i := range f.Imports {
			if name, _ := strconv.Unquote(i.Path.Value); strings.HasPrefix(name, "github.com/pion/webrtc") {
				seen++
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Fatalf("%d files use the library: %v", seen, err)
	}
	bad, err := parser.ParseFile(files, "bad.go", "package p\nfunc f(e *E) { e.DisableCertificateFingerprintVerification(true) }", 0)
	if err != nil || len(uses(files, bad)) != 1 {
		t.Errorf("the check finds nothing: %v", err)
	}
}

// F5 in crypto/ATTACKS.md: the DTLS library has at least the version that does not reuse
// nonces, and is a tagged release.
func TestVersionOfDTLS(t *testing.T) {
	b, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/pion/dtls/v3 v"
	_, version, ok := strings.Cut(string(b), module)
	version, _, _ = strings.Cut(version, "\n")
	version, _, _ = strings.Cut(version, " ")
	var parts [3]int
	numbers := strings.Split(version, ".")
	for i := range min(len(numbers), len(parts)) {
		n, err := strconv.Atoi(numbers[i])
		ok = ok && err == nil
		parts[i] = n
	}
	least := [3]int{3, 1, 5}
	for i := range parts {
		if parts[i] != least[i] {
			ok = ok && parts[i] > least[i]
			break
		}
	}
	if !ok || len(numbers) != len(parts) {
		t.Errorf("DTLS is %q", version)
	}
}
