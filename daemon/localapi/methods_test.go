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
	served := methods(newFake())
	names := 0
	look := func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "Method") {
			return true
		}
		names++
		name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		_, ok = served[name]
		switch name {
		case local.MethodEventSubscribe, local.MethodDaemonHello, local.MethodDaemonStop, local.MethodFileSend, local.MethodFileGet,
			local.MethodCallStart, local.MethodCallAnswer:
			if ok {
				t.Errorf("%s needs its connection", name)
			}
			return true
		}
		if !ok {
			t.Errorf("%s is not served", name)
		}
		return true
	}
	for _, file := range []string{"methods.go", "files.go", "call.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), "../../rpc/local/"+file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, look)
	}
	if names != len(served)+7 {
		t.Errorf("%d names, %d methods and seven more", names, len(served))
	}
}
