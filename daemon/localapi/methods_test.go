package localapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"secmsg/rpc/local"
)

// TestEveryMethodIsServed reads the names in rpc/local and asks for each.
func TestEveryMethodIsServed(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../rpc/local/methods.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	served := methods(newFake())
	names := 0
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "Method") {
			return true
		}
		names++
		name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := served[name]; !ok && name != local.MethodEventSubscribe && name != local.MethodDaemonStop {
			t.Errorf("%s is not served", name)
		}
		return true
	})
	if names != len(served)+2 {
		t.Errorf("%d names, %d methods and two more", names, len(served))
	}
}
