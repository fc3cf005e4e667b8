package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// layer is one row of the map of packages: what a package never imports. A
// pattern ending in /... covers everything below; transitive rules hold for
// what the package's imports import, too.
type layer struct {
	pkg        string
	never      []string
	transitive bool
	reason     string
}

// cryptoIO lists the packages that the cryptographic packages must not import.
func cryptoIO() []string { return []string{"net", "net/http", "os", "database/sql", "log"} }

func layers() []layer {
	return []layer{
		{"cmd/secmsg", []string{"secmsg/crypto/...", "secmsg/rpc/wire", "secmsg/rpc/e2e", "secmsg/daemon/...", "secmsg/serverd/..."}, false,
			"a command talks to the daemon or the server, never to their parts"},
		{"config/...", []string{"secmsg/..."}, true, "everything reads the configuration, so it may know nothing"},

		{"rpc/...", []string{"secmsg/daemon/...", "secmsg/serverd/...", "secmsg/cmd/...", "secmsg/config"}, true, "contracts do not know the parties"},
		{"rpc/local", []string{"secmsg/rpc/wire", "secmsg/rpc/e2e"}, true, "who may read a type is decided by its package"},
		{"rpc/admin", []string{"secmsg/rpc/wire", "secmsg/rpc/e2e"}, true, "who may read a type is decided by its package"},
		{"rpc/strict", []string{"secmsg/..."}, true, "a decoder knows no contract"},
		{"rpc/unixpeer", []string{"secmsg/..."}, true, "a socket knows no contract"},
		{"rpc/backoff", []string{"secmsg/..."}, true, "waits know no contract"},
		{"rpc/wire", []string{"secmsg/rpc/e2e", "secmsg/rpc/local", "net/http", "database/sql"}, true, "the wire types are plain data"},
		{"rpc/e2e", []string{"secmsg/rpc/wire", "secmsg/rpc/local"}, true, "what is inside the ciphertext is nobody else's"},

		{"crypto/...", []string{"secmsg/rpc/...", "secmsg/daemon/...", "secmsg/serverd/...", "secmsg/config", "secmsg/cmd/..."}, true, "keys know nobody"},
		{"crypto/key", cryptoIO(), false, "keys are pure"},
		{"crypto/identity", cryptoIO(), false, "identities are checked without I/O; the time is an argument"},
		{"crypto/ratchet", cryptoIO(), false, "a session is pure state; the time is an argument"},
		{"crypto/seal", cryptoIO(), false, "streams are io.Reader and io.Writer"},

		{"daemon/...", []string{"secmsg/cmd/...", "secmsg/serverd/..."}, true, "the client does not know the server"},
		{"daemon", []string{"secmsg/daemon/account", "secmsg/daemon/engine", "secmsg/daemon/link", "secmsg/daemon/trust", "secmsg/daemon/files", "secmsg/daemon/call",
			"secmsg/daemon/media", "secmsg/rpc/wire", "secmsg/rpc/e2e", "secmsg/crypto/identity", "secmsg/crypto/key", "secmsg/crypto/ratchet"}, false,
			"wiring has no logic of accounts or messages"},
		{"daemon/account", []string{"secmsg/daemon/localapi", "secmsg/daemon/backend"}, true, "an account runs without a socket"},
		{"daemon/backend", []string{"secmsg/daemon/media", "secmsg/rpc/wire", "secmsg/rpc/e2e", "secmsg/crypto/ratchet", "secmsg/crypto/seal", "net", "net/http"}, false,
			"the backend asks an account's parts, it moves no messages"},
		{"daemon/codes", []string{"secmsg/daemon/engine", "secmsg/daemon/account", "secmsg/daemon/journal", "secmsg/daemon/files", "secmsg/daemon/call"}, true,
			"whoever has an error may ask for its code"},
		{"daemon/localapi", []string{"secmsg/daemon/link", "secmsg/daemon/store", "secmsg/daemon/media", "secmsg/crypto/..."}, false, "handlers call the backend"},
		{"daemon/journal", []string{"secmsg/daemon/link", "secmsg/daemon/engine", "secmsg/crypto/..."}, false, "the journal knows events only"},
		{"daemon/trust", []string{"secmsg/daemon/link", "secmsg/daemon/engine"}, true, "trust looks at the store, others bring answers"},
		{"daemon/devices", []string{"secmsg/daemon/media", "secmsg/daemon/call"}, false, "linking needs no calls"},
		{"daemon/history", []string{"secmsg/daemon/link", "secmsg/daemon/keyring", "secmsg/daemon/engine", "secmsg/crypto/...", "net", "net/http"}, false,
			"history is what a user sees, not how it is delivered"},
		// The engine knows the link's plain types (results, errors), not the link: see link.New below.
		{"daemon/engine", []string{"secmsg/daemon/call", "secmsg/daemon/files", "secmsg/daemon/media", "net", "net/http"}, false,
			"the engine declares the interfaces it needs"},
		{"daemon/link", []string{"secmsg/daemon/store", "secmsg/daemon/engine", "secmsg/rpc/e2e", "secmsg/crypto/ratchet"}, true, "the link carries ciphertext"},
		{"daemon/store", []string{"secmsg/rpc/...", "secmsg/crypto/...", "net", "net/http"}, false, "the store keeps bytes"},
		{"daemon/keyring", []string{"secmsg/rpc/...", "net", "net/http"}, false, "private keys are far from any network"},
		// It names peers and devices by the types of crypto/{key,identity}, as the engine does.
		{"daemon/call", []string{"secmsg/daemon/media", "secmsg/daemon/link", "secmsg/daemon/engine", "secmsg/crypto/ratchet", "secmsg/crypto/seal", "github.com/pion/..."}, false,
			"the call is a pure state machine"},
		{"daemon/media/...", []string{"secmsg/rpc/...", "secmsg/daemon/store", "secmsg/daemon/engine", "secmsg/daemon/call"}, false, "media know no messages"},
		{"daemon/files", []string{"secmsg/daemon/link", "secmsg/daemon/engine"}, false, "transfers declare the interfaces they need"},

		{"serverd/...", []string{"secmsg/daemon/...", "secmsg/cmd/...", "secmsg/rpc/e2e", "secmsg/rpc/local", "secmsg/crypto/ratchet", "secmsg/crypto/seal"}, true,
			"the server cannot read messages"},
		{"serverd/api", []string{"secmsg/serverd/relay", "secmsg/serverd/media"}, false, "roles can be run apart"},
		{"serverd/ca", []string{"secmsg/serverd/api", "secmsg/serverd/relay"}, true, "the CA serves the roles"},
		{"serverd/keylog", []string{"secmsg/serverd/api", "secmsg/serverd/relay"}, true, "the log serves the roles"},
		{"serverd/admin", []string{"secmsg/serverd/relay"}, false, "administration does not reach into sessions"},
		{"serverd/relay", []string{"secmsg/serverd/api", "secmsg/serverd/blob"}, false, "roles can be run apart"},
		{"serverd/media", []string{"secmsg/serverd/store", "secmsg/serverd/relay", "secmsg/rpc/wire"}, false, "media carry no messages"},
		{"serverd/stats", []string{"secmsg/serverd/api", "secmsg/serverd/relay", "secmsg/serverd/media", "secmsg/serverd/admin", "secmsg/serverd/ca"}, false,
			"roles hand their collectors to it"},
		{"serverd/store", []string{"secmsg/rpc/...", "net/http"}, false, "the store keeps rows"},
		{"serverd/blob", []string{"secmsg/serverd/store", "secmsg/serverd/api"}, false, "blobs are bytes"},
		{"serverd/limit", []string{"secmsg/..."}, false, "a limiter knows no role"},
		{"serverd/bus", []string{"secmsg/serverd/relay", "secmsg/serverd/store"}, false, "the bus is a hint"},
	}
}

// own names the only files of cmd/secmsg that may import a party.
func ownFiles() map[string][]string {
	return map[string][]string{
		"secmsg/daemon":    {"daemon_run.go"},
		"secmsg/serverd":   {"serverd.go", "admin.go"},
		"secmsg/rpc/admin": {"admin.go", "serverd.go"},
	}
}

// onlyIn names libraries that one package wraps for all others.
func onlyIn() map[string]string {
	return map[string]string{
		"github.com/spf13/viper":          "config",
		"github.com/pion/webrtc/...":      "daemon/media",
		"github.com/cenkalti/backoff/...": "rpc/backoff",
	}
}

// source is one parsed file that is not a test.
type source struct {
	pkg  string // directory in the module, with slashes
	name string
	test bool
	file *ast.File
	fset *token.FileSet
}

// parseModule returns every Go file of the module. The tests share the result and only read it.
func parseModule(t *testing.T) []source {
	t.Helper()
	all, err := parsedModule()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files found", len(all))
	}
	return all
}

// parsedModule reads every Go file of the module in this process, once: a test that
// asked the go tool could be answered from its cache.
var parsedModule = sync.OnceValues(func() ([]source, error) {
	root := filepath.Join("..", "..")
	fset := token.NewFileSet()
	var out []source
	visit := func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		case filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		out = append(out, source{
			pkg: filepath.ToSlash(filepath.Dir(rel)), name: filepath.Base(rel),
			test: strings.HasSuffix(rel, "_test.go"), file: f, fset: fset,
		})
		return nil
	}
	for _, top := range []string{"cmd", "config", "crypto", "daemon", "rpc", "serverd"} {
		if err := filepath.WalkDir(filepath.Join(root, top), visit); err != nil {
			return nil, err
		}
	}
	return out, nil
})

func (s source) imports(t *testing.T) []string {
	var all []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// covers reports whether a pattern names a path.
func covers(pattern, path string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}

func TestLayers(t *testing.T) {
	t.Parallel()
	direct := map[string]map[string]bool{} // package to what its files import
	for _, s := range parseModule(t) {
		if s.test {
			continue
		}
		if direct[s.pkg] == nil {
			direct[s.pkg] = map[string]bool{}
		}
		for _, i := range s.imports(t) {
			if s.pkg == "cmd/secmsg" && slices.Contains(ownFiles()[i], s.name) {
				continue
			}
			direct[s.pkg][i] = true
			for pattern, home := range onlyIn() {
				if covers(pattern, i) && s.pkg != home {
					t.Errorf("%s/%s imports %s, which belongs to %q", s.pkg, s.name, i, home)
				}
			}
		}
	}
	for _, l := range layers() {
		for pkg, imports := range direct {
			if !covers(l.pkg, pkg) {
				continue
			}
			reach := imports
			if l.transitive {
				reach = closure(direct, pkg)
			}
			for i := range reach {
				if i == "secmsg/"+pkg || covers(l.pkg, strings.TrimPrefix(i, "secmsg/")) {
					continue // a package is not its own neighbour
				}
				for _, never := range l.never {
					if covers(never, i) {
						t.Errorf("%s reaches %s: %s", pkg, i, l.reason)
					}
				}
			}
		}
	}
}

// closure is everything that pkg imports, through packages of ours.
func closure(direct map[string]map[string]bool, pkg string) map[string]bool {
	all := map[string]bool{}
	queue := slices.Collect(maps.Keys(direct[pkg]))
	for len(queue) > 0 {
		next := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if all[next] {
			continue
		}
		all[next] = true
		if own, ok := strings.CutPrefix(next, "secmsg/"); ok {
			queue = append(queue, slices.Collect(maps.Keys(direct[own]))...)
		}
	}
	return all
}

// TestLayerRulesAreNotEmpty makes sure that the test above can fail.
func TestLayerRulesAreNotEmpty(t *testing.T) {
	direct := map[string]map[string]bool{
		"serverd/relay": {"secmsg/serverd/x": true},
		"serverd/x":     {"secmsg/rpc/e2e": true},
	}
	if !closure(direct, "serverd/relay")["secmsg/rpc/e2e"] {
		t.Error("a rule would not be seen through another package")
	}
	if !covers("secmsg/crypto/...", "secmsg/crypto/key") || covers("secmsg/crypto/...", "secmsg/cryptox") {
		t.Error("patterns do not match")
	}
}

func TestOneDocCommentAPackage(t *testing.T) {
	t.Parallel()
	docs := map[string][]string{}
	for _, s := range parseModule(t) {
		if s.test {
			continue
		}
		if docs[s.pkg] == nil {
			docs[s.pkg] = []string{}
		}
		if s.file.Doc != nil && !isDirective(s.file.Doc) {
			docs[s.pkg] = append(docs[s.pkg], s.name)
		}
	}
	for pkg, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s has %d doc comments %v, want one", pkg, len(files), files)
		}
	}
}

// isDirective reports whether a comment only generates or constrains.
func isDirective(g *ast.CommentGroup) bool {
	return strings.TrimSpace(g.Text()) == "" || strings.HasPrefix(g.List[0].Text, "// Code generated")
}

// TestWaitsComeFromOnePlace finds waits that are doubled by hand: they have no random
// part and ignore what the server asks for. See rpc/backoff.
func TestWaitsComeFromOnePlace(t *testing.T) {
	t.Parallel()
	users := map[string]bool{}
	for _, s := range parseModule(t) {
		imports := s.imports(t)
		if s.test || !slices.Contains(imports, "time") {
			continue
		}
		if slices.Contains(imports, "secmsg/rpc/backoff") {
			users[s.pkg] = true
		}
		for _, pos := range doublings(s.file) {
			t.Errorf("%s: a wait is doubled by hand; use rpc/backoff", s.fset.Position(pos))
		}
	}
	for _, pkg := range []string{"cmd/secmsg", "daemon", "daemon/account", "daemon/engine", "daemon/files", "daemon/journal", "daemon/link", "daemon/localapi"} {
		if !users[pkg] {
			t.Errorf("%s does not take its waits from rpc/backoff", pkg)
		}
	}
}

// doublings returns where a file doubles a value up to a bound, as in
// min(2*pause, most), min(first<<tries, most), pause *= 2 and first << min(tries, 10).
func doublings(f *ast.File) []token.Pos {
	isMin := func(e ast.Expr) (*ast.CallExpr, bool) {
		call, ok := e.(*ast.CallExpr)
		if !ok {
			return nil, false
		}
		id, ok := call.Fun.(*ast.Ident)
		return call, ok && id.Name == "min"
	}
	isTwo := func(e ast.Expr) bool {
		l, ok := e.(*ast.BasicLit)
		return ok && l.Value == "2"
	}
	var found []token.Pos
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.MUL_ASSIGN && isTwo(n.Rhs[0]) {
				found = append(found, n.Pos())
			}
		case *ast.BinaryExpr:
			if _, bounded := isMin(n.Y); n.Op == token.SHL && bounded {
				found = append(found, n.Pos())
			}
		case *ast.CallExpr:
			if _, ok := isMin(n); !ok {
				return true
			}
			for _, a := range n.Args {
				b, ok := a.(*ast.BinaryExpr)
				if !ok {
					continue
				}
				_, bounded := isMin(b.Y) // counted above
				if _, constant := b.Y.(*ast.BasicLit); constant && b.Op == token.SHL {
					continue
				}
				if b.Op == token.MUL && (isTwo(b.X) || isTwo(b.Y)) || b.Op == token.SHL && !bounded {
					found = append(found, b.Pos())
				}
			}
		}
		return true
	})
	return found
}

// TestDoublingsAreSeen makes sure that the test above can fail.
func TestDoublingsAreSeen(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
func f() {
	pause = min(2*pause, most)
	pause = min(pause*2, most)
	pause *= 2
	pause = min(first<<tries, most)
	pause = first << min(tries, 10)
	pause = min(first<<min(tries, 10), most)
	pause = min(pause, most)
	pause = 2 * pause
	version = min(version, 1<<62)
	crc <<= 1
}`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(doublings(f)); n != 6 {
		t.Errorf("%d of 6 doublings are seen", n)
	}
}

func TestHabits(t *testing.T) {
	t.Parallel()
	all := parseModule(t)
	fakeClock := map[string]bool{} // packages whose tests run on the clock of synctest
	for _, s := range all {
		if s.test && slices.Contains(s.imports(t), "testing/synctest") {
			fakeClock[s.pkg] = true
		}
	}
	for _, s := range all {
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" && !generated(s.file) {
					t.Errorf("%s: init function", s.fset.Position(n.Pos()))
				}
			case *ast.GoStmt:
				if s.pkg == "crypto/ratchet" && !s.test {
					t.Errorf("%s: goroutine in pure state", s.fset.Position(n.Pos()))
				}
			case *ast.CallExpr:
				checkCall(t, s, n, fakeClock[s.pkg])
			}
			return true
		})
	}
}

func generated(f *ast.File) bool { return ast.IsGenerated(f) }

// checkCall finds calls that are allowed in one place only, or nowhere.
func checkCall(t *testing.T, s source, call *ast.CallExpr, fakeClock bool) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return
	}
	name := x.Name + "." + sel.Sel.Name
	at := s.fset.Position(call.Pos())
	switch {
	case name == "time.Sleep" && !(s.test && fakeClock):
		t.Errorf("%s: time.Sleep", at)
	case s.test:
	case name == "os.Exit" && (s.pkg != "cmd/secmsg" || s.name != "main.go"):
		t.Errorf("%s: os.Exit outside main", at)
	case name == "link.New" && s.pkg != "daemon/account":
		t.Errorf("%s: only an account makes a link", at)
	case strings.HasPrefix(name, "log.Fatal"), strings.HasPrefix(name, "log.Panic"):
		t.Errorf("%s: %s", at, name)
	case (name == "time.Now" || name == "time.Since") && (s.pkg == "crypto/identity" || s.pkg == "crypto/ratchet" || s.pkg == "crypto/key"):
		t.Errorf("%s: the time is an argument here", at)
	}
}

// TestGroupsRunTwiceInTests finds tests that open a store without the switch
// which makes every group of transactions run twice, and makes sure that the name
// by which programs are linked with it is that of the variable.
func TestGroupsRunTwiceInTests(t *testing.T) {
	t.Parallel()
	opens, set, variable := map[string]bool{}, map[string]bool{}, false
	for _, s := range parseModule(t) {
		if !s.test {
			if s.pkg == "daemon/store" {
				variable = variable || s.declares("groups")
			}
			continue
		}
		if s.pkg == "daemon/store" || s.pkg != "cmd/secmsg" && slices.ContainsFunc(s.imports(t), func(i string) bool {
			return i == "secmsg/daemon/store" || i == "secmsg/daemon"
		}) {
			opens[s.pkg] = true
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "GroupsTwice" {
				set[s.pkg] = true
			}
			return true
		})
	}
	if !variable || len(opens) < 7 {
		t.Errorf("the variable of the linker's switch exists: %v; packages whose tests open a store: %d", variable, len(opens))
	}
	for pkg := range opens {
		if !set[pkg] {
			t.Errorf("the tests of %s open a store and do not call store.GroupsTwice in TestMain", pkg)
		}
	}
}

// declares reports whether a file has a variable of that name at its top level.
func (s source) declares(name string) bool {
	return slices.ContainsFunc(s.file.Decls, func(d ast.Decl) bool {
		g, ok := d.(*ast.GenDecl)
		return ok && g.Tok == token.VAR && slices.ContainsFunc(g.Specs, func(x ast.Spec) bool {
			v, ok := x.(*ast.ValueSpec)
			return ok && slices.ContainsFunc(v.Names, func(i *ast.Ident) bool { return i.Name == name })
		})
	})
}
