package main

import (
	"go/ast"
	"strings"
	"testing"
)

// volatile lists the functions that create or rename a file without syncing its
// directory, each with the reason why that is correct.
func volatile() map[string]string {
	return map[string]string{
		"serverd.lock":               "the lock is held by a process and means nothing after it",
		"serverd/blob.Ping":          "the file is removed at once",
		"serverd/blob.place":         "the caller syncs, outside of the lock",
		"serverd/ca.writeSynced":     "the callers rename the file or sync the directory",
		"rpc/local.TakeLock":         "the lock is held by a process and means nothing after it",
		"rpc/local.SetState":         "the state is that of a process, too",
		"daemon/localapi.Listen":     "a socket does not outlive its daemon",
		"daemon/localapi.prepareDir": "the directory of a socket does not outlive the machine",
		"daemon/media.create":        "a recording is as durable as that of any recorder",
		"daemon/media.PlaceExact":    "a recording is as durable as that of any recorder",
		"daemon/files.write":         "a part of the spool that loses its name is sealed again under a new key",
		"daemon/files.place":         "the caller syncs the directory before it says that the file is there",
		"daemon/files.open":          "the caller syncs the directory before it says that the file is there",
		"rpc/local/place.Unique":     "the caller syncs the directory before it says that the file is there",
		"rpc/local/place.place":      "the caller syncs the directory before it says that the file is there",
		"rpc/local/place.Exact":      "the caller syncs the directory before it says that the file is there",
		"config.Announce":            "a hint that each daemon writes anew",
	}
}

// TestNamesAreDurable finds functions that create or rename a file without syncing
// its directory: after a power loss the content would exist, but not its name.
func TestNamesAreDurable(t *testing.T) {
	t.Parallel()
	excused := volatile()
	for _, s := range parseModule(t) {
		if s.test || strings.HasPrefix(s.pkg, "cmd/") || s.pkg == "config/durable" {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			named, synced := false, false
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					named = named || n.Sel.Name == "O_CREATE"
				case *ast.CallExpr:
					switch to := n.Fun.(type) {
					case *ast.Ident:
						synced = synced || to.Name == "syncDir"
					case *ast.SelectorExpr:
						pkg, _ := to.X.(*ast.Ident)
						named = named || creates(pkg, to.Sel.Name)
						synced = synced || to.Sel.Name == "SyncDir" || to.Sel.Name == "syncDir"
					}
				}
				return true
			})
			name := s.pkg + "." + f.Name.Name
			if named && !synced && excused[name] == "" {
				t.Errorf("%s: %s creates or renames a file and does not sync its directory", s.fset.Position(f.Pos()), name)
			}
		}
	}
}

// creates reports whether a call of package os, or of a method of os.Root, makes a name.
func creates(x *ast.Ident, name string) bool {
	if x != nil && x.Name == "durable" {
		return false
	}
	switch name {
	case "Rename", "Link":
		return true
	case "WriteFile", "Create", "MkdirAll", "Mkdir", "Symlink":
		return x != nil && x.Name == "os"
	}
	return false
}
