package localapi

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"secmsg/rpc/local"
)

// contract reads the names of all methods and of all members of all types from the source
// of rpc/local, so that new ones are tested, too.
func contract(t *testing.T) (methods, members []string) {
	t.Helper()
	paths, err := filepath.Glob("../../rpc/local/*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if strings.HasPrefix(n.Names[0].Name, "Method") && len(n.Values) == 1 {
					if lit, ok := n.Values[0].(*ast.BasicLit); ok {
						if s, err := strconv.Unquote(lit.Value); err == nil {
							methods = append(methods, s)
						}
					}
				}
			case *ast.Field:
				if n.Tag == nil {
					break
				}
				tag, err := strconv.Unquote(n.Tag.Value)
				if err != nil {
					t.Fatal(err)
				}
				name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
				if name != "" && name != "-" && !seen[name] {
					seen[name] = true
					members = append(members, name)
				}
			}
			return true
		})
	}
	if len(methods) < 50 || len(members) < 50 {
		t.Fatalf("%d methods, %d members found", len(methods), len(members))
	}
	return methods, members
}

// ofGo matches text that only makes sense with this program's source.
var ofGo = regexp.MustCompile(`local\.|strict\.|time\.|json:|struct|interface|\[\]|map\[|u?int(8|16|32|64)\b|float(32|64)|\*[a-zA-Z]|[Uu]nmarshal|strconv|parsing time|Go (value|type)|\bnil\b|Params`)

// TestErrorsAboutParametersAreWords sends members of every wrong type to every method: the
// errors say what is expected, in terms of JSON.
func TestErrorsAboutParametersAreWords(t *testing.T) {
	path, _ := start(t, newFake())
	methods, members := contract(t)
	// message sends one request on its own connection, since some methods take the
	// connection over, and returns the error's message.
	message := func(method, name, value string) string {
		t.Helper()
		got := exchange(t, path, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{"`+name+`":`+value+`}}`+"\n")
		var r struct {
			Error *struct {
				Code    int            `json:"code"`
				Message string         `json:"message"`
				Data    map[string]any `json:"data"`
			} `json:"error"`
		}
		if len(got) != 1 || json.Unmarshal([]byte(got[0]), &r) != nil || r.Error == nil {
			t.Fatalf("%s with %s = %s: %q", method, name, value, got)
		}
		if r.Error.Code != local.RPCInvalidParams || r.Error.Data["code"] != string(local.CodeUsage) {
			t.Errorf("%s with %s = %s: %s", method, name, value, got[0])
		}
		for _, s := range []string{r.Error.Message, got[0]} {
			if bad := ofGo.FindString(strings.ReplaceAll(s, strconv.Quote(name), "")); bad != "" {
				t.Errorf("%s with %s = %s: %q in %s", method, name, value, bad, got[0])
			}
		}
		return r.Error.Message
	}
	tried := 0
	for _, method := range methods {
		for _, name := range members {
			// No member accepts this object, or an array of such objects.
			said := message(method, name, `{"a":[1]}`)
			if strings.HasPrefix(said, "unknown member "+strconv.Quote(name)) || strings.Contains(said, "unknown member \\\""+name) {
				continue
			}
			tried++
			message(method, name, `[{"b":1}]`)
			wrong := map[string]string{
				"a string": `1.5`, "an array": `"x"`, "true or false": `"x"`, "a number": `"x"`, "an integer": `1.5`, "an object": `true`,
			}
			for expected, value := range wrong {
				if strings.Contains(said, expected+" ") {
					message(method, name, value)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d members were tried", tried)
	}
	for _, method := range methods {
		for _, params := range []string{`"x"`, `7`, `[]`, `true`} {
			for _, line := range exchange(t, path, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+"}\n") {
				if bad := ofGo.FindString(line); bad != "" || !strings.Contains(line, `"error"`) {
					t.Errorf("%s with %s: %q in %s", method, params, bad, line)
				}
			}
		}
	}
}
