package localapi

import (
	"os"
	"slices"
	"strings"
	"testing"

	"secmsg/rpc/local"
	"secmsg/rpc/local/schema"
)

// TestEveryMethodIsServed compares the handlers with the signatures of the
// contract, by which the methods are documented.
func TestEveryMethodIsServed(t *testing.T) {
	served := methods(newFake())
	onConnection := []string{ // they need their connection and are not in the table
		local.MethodEventSubscribe, local.MethodDaemonHello, local.MethodDaemonStop, local.MethodFileSend, local.MethodFileGet,
		local.MethodCallStart, local.MethodCallAnswer,
	}
	for _, m := range local.Methods() {
		h, ok := served[m.Name]
		delete(served, m.Name)
		switch {
		case slices.Contains(onConnection, m.Name):
			if ok {
				t.Errorf("%s needs its connection", m.Name)
			}
		case !ok:
			t.Errorf("%s is not served", m.Name)
		case h.params != m.Params || h.result != m.Result:
			t.Errorf("%s takes %s and answers %s; the contract says %s and %s", m.Name, h.params, h.result, m.Params, m.Result)
		}
	}
	for name := range served {
		t.Errorf("%s is served but is not in the contract", name)
	}
}

// TestDocumentedParametersAreTaken sends each method each member of its documented
// parameters, and of all others, with a value that no member takes: the answer
// tells whether the member is known.
func TestDocumentedParametersAreTaken(t *testing.T) {
	path, _ := start(t, newFake())
	c, err := schema.Read(os.DirFS("../../rpc/local"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	all := map[string]bool{}
	for _, m := range c.Methods {
		known[m.Name] = map[string]bool{}
		for _, p := range m.Params {
			known[m.Name][p.Name], all[p.Name] = true, true
		}
	}
	for method, documented := range known {
		for name := range all {
			got := exchange(t, path, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{"`+name+`":{"a":[1]}}}`+"\n")
			if len(got) != 1 || !strings.Contains(got[0], `"error"`) {
				t.Fatalf("%s with %s: %q", method, name, got)
			}
			if taken := !strings.Contains(got[0], `unknown member \\\"`+name) && !strings.Contains(got[0], `unknown member \"`+name); taken != documented[name] {
				t.Errorf("%s takes %s: %v; documented: %v (%s)", method, name, taken, documented[name], got[0])
			}
		}
	}
}
