package strict_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/strict"
)

type Base struct {
	Account string `json:"account,omitempty"`
}

type inner struct {
	Kind string `json:"kind"`
}

type request struct {
	Base
	Peers  []string         `json:"peers"`
	Limit  *int             `json:"limit"`
	Media  inner            `json:"media"`
	List   []inner          `json:"list"`
	Policy map[string]inner `json:"policy"`
	Raw    json.RawMessage  `json:"raw"`
	At     time.Time        `json:"at"`
	Pair   [2]int           `json:"pair"`
	Hidden string           `json:"-"`
	Plain  bool
}

var limits = strict.Limits{Depth: 5, Values: 40}

func TestWhatIsAccepted(t *testing.T) {
	for _, in := range []string{
		`{}`, ` {"account":"a"} ` + "\n", `null`,
		`{"peers":["bob","bob"],"limit":3,"media":{"kind":"x"},"list":[{"kind":"a"},{"kind":"b"}],"Plain":true}`,
		`{"policy":{"A":{"kind":"1"},"a":{"kind":"2"},"":{}}}`,
		`{"p\u0065ers":["\ud83d\ude00","\"\\\u0000"]}`,
		`{"raw":{"anything":[1,{"Goes":null}]},"at":"2024-01-02T03:04:05Z","pair":[1,2]}`,
		`{"limit":null,"media":null}`,
	} {
		var got, want request
		if err := strict.Unmarshal([]byte(in), &got, limits); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if err := json.Unmarshal([]byte(in), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, encoding/json has %+v (%v)", in, got, want, err)
		}
	}
}

// TestWhatIsRefused has inputs that encoding/json accepts, except those in invalid.
func TestWhatIsRefused(t *testing.T) {
	for name, in := range map[string]string{
		"twice":                 `{"peers":["bob"],"peers":["mallory"]}`,
		"twice, escaped":        `{"peers":["bob"],"p\u0065ers":["mallory"]}`,
		"twice, other case":     `{"peers":["bob"],"PEERS":["mallory"]}`,
		"other case alone":      `{"Peers":["bob"]}`,
		"capital escaped":       `{"\u0050eers":["bob"]}`,
		"long s":                `{"peerſ":["bob"]}`,
		"long s escaped":        `{"peer\u017f":["bob"]}`,
		"Kelvin sign":           `{"media":{"Kind":"x"}}`,
		"small for plain":       `{"plain":true}`,
		"the type's own name":   `{"Media":{"kind":"x"}}`,
		"unknown":               `{"peer":["bob"]}`,
		"unknown, inside":       `{"list":[{"kind":"a"},{"kind":"a","extra":1}]}`,
		"unknown, in a map":     `{"policy":{"a":{"sort":"x"}}}`,
		"twice, in a map":       `{"policy":{"a":{},"a":{}}}`,
		"twice, in raw":         `{"raw":{"x":1,"x":2}}`,
		"twice, deep in raw":    `{"raw":[0,[{"x":1,"y":2,"x":2}]]}`,
		"hidden":                `{"-":"x"}`,
		"hidden by its name":    `{"Hidden":"x"}`,
		"embedded by its name":  `{"Base":{"account":"a"}}`,
		"many, the last twice":  `{"policy":{"0":{},"1":{},"2":{},"3":{},"4":{},"5":{},"6":{},"7":{},"8":{},"9":{},"a":{},"b":{},"c":{},"d":{},"e":{},"f":{},"g":{},"g":{}}}`,
		"high surrogate":        `{"peers":["\ud83d"]}`,
		"low surrogate":         `{"peers":["\ude00"]}`,
		"pair the wrong way":    `{"peers":["\ude00\ud83d"]}`,
		"two high ones":         `{"peers":["\ud83d\ud83d"]}`,
		"surrogate in a name":   `{"policy":{"\ud83d":{}}}`,
		"surrogate, then text":  `{"peers":["\ud83dx"]}`,
		"not UTF-8":             "{\"peers\":[\"\xff\"]}",
		"UTF-8 surrogate":       "{\"peers\":[\"\xed\xa0\xbd\"]}",
		"array too short":       `{"pair":[1]}`,
		"array too long":        `{"pair":[1,2,3]}`,
		"too deep":              `{"raw":[[[[[1]]]]]}`,
		"too many":              `{"raw":[` + strings.Repeat("1,", 40) + `1]}`,
		"too many empty arrays": `{"raw":[` + strings.Repeat("[],", 20) + `[]]}`,
	} {
		var got request
		if err := strict.Unmarshal([]byte(in), &got, limits); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		} else if !reflect.DeepEqual(got, request{}) {
			t.Errorf("%s: refused, but something was decoded: %+v", name, got)
		}
		if err := json.Unmarshal([]byte(in), new(request)); err != nil {
			t.Errorf("%s: encoding/json refuses it too, which proves nothing here: %v", name, err)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "space": " \n", "behind": `{"account":"a"}{"account":"b"}`, "behind, garbage": `{} x`, "behind, a bracket": `{}]`,
		"cut": `{"peers":["bob"`, "cut in an escape": `{"peers":["\u12`, "single quotes": `{'peers':[]}`, "comma": `{"peers":["a",]}`,
		"comment": `{} // x`, "NaN": `{"limit":NaN}`, "hex": `{"limit":0x1}`, "leading zero": `{"limit":01}`, "BOM": "\ufeff{}",
		"control": "{\"peers\":[\"\x01\"]}", "unterminated": `{"peers":["` + strings.Repeat(",", 1000) + `\`,
	} {
		if err := strict.Unmarshal([]byte(in), new(request), limits); !errors.Is(err, strict.ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	l := strict.Limits{Depth: 3, Values: 10}
	list := func(n int, item string) string {
		return `{"raw":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"most":              {list(8, "0"), true},
		"too many":          {list(9, "0"), false},
		"too many objects":  {list(5, "{}"), false},
		"commas in strings": {list(2, `"`+strings.Repeat(`,[{\",`, 100)+`"`), true},
		"deepest":           {list(1, `[1]`), true},
		"too deep":          {list(1, `[[]]`), false},
		"very deep":         {strings.Repeat("[", 1<<20), false},
	} {
		err := strict.Unmarshal([]byte(c.in), new(request), l)
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, strict.ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMessagesAreShort checks that errors quote a caller's text neither completely nor raw.
func TestMessagesAreShort(t *testing.T) {
	for _, in := range []string{
		`{"` + strings.Repeat("x", 100_000) + `":1}`, "{\"\u202e\u009b\":1}", `{"raw":{"\u001b[2J":1,"\u001b[2J":1}}`,
	} {
		err := strict.Unmarshal([]byte(in), new(request), strict.Limits{Depth: 5, Values: 100})
		if err == nil || len(err.Error()) > 500 {
			t.Errorf("%.40q: %v", in, err)
			continue
		}
		for _, r := range err.Error() {
			if r < ' ' || r > '~' {
				t.Errorf("%.40q: the message has %q", in, r)
			}
		}
	}
}

// TestWrongTypesInWords checks that messages name members, and no Go types.
func TestWrongTypesInWords(t *testing.T) {
	for in, want := range map[string]string{
		`{"account":3}`:                              `"account": a string expected, not this number`,
		`{"peers":{"$ne":""}}`:                       `"peers": an array expected, not this object`,
		`{"media":{"kind":[]}}`:                      `"media.kind": a string expected, not this array`,
		`{"limit":1.5}`:                              `"limit": an integer of 64 bits expected, not this number`,
		`{"limit":1` + strings.Repeat("0", 40) + `}`: `"limit": an integer of 64 bits expected, not this number`,
		`{"Plain":"yes"}`:                            ` true or false expected, not this string`,
		`[]`:                                         `an object expected, not this array`,
	} {
		err := strict.Unmarshal([]byte(in), new(request), limits)
		if err == nil || !strings.HasSuffix(err.Error(), strings.TrimPrefix(want, " ")) || strings.Contains(err.Error(), "Go") {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

// FuzzUnmarshal checks two properties of arbitrary text: accepted text means the same to encoding/json,
// and it has only one form, so that it can be encoded and decoded again without a change.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{
		`{"peers":["bob"],"PEERS":["mallory"]}`, `{"peer\u017f":["x"]}`, `{"raw":{"x":1,"x":2}}`, `{"a":"\ud83d\ude00\ud83d"}`,
		`{"account":"a","limit":-1.5e3,"media":{"kind":""},"list":[{},null],"policy":{"k":{}},"at":"2024-01-02T03:04:05Z","pair":[1,2],"Plain":false}`,
		`[1,2,{"a":[]}]`, ` "x" `, "{} {}", "{\"\xff\":1}",
	} {
		f.Add(s)
	}
	l := strict.Limits{Depth: 20, Values: 1000}
	f.Fuzz(func(t *testing.T, in string) {
		var got, want request
		if err := strict.Unmarshal([]byte(in), &got, l); err == nil {
			d := json.NewDecoder(strings.NewReader(in))
			d.DisallowUnknownFields()
			if err := d.Decode(&want); err != nil {
				t.Fatalf("accepted, but encoding/json says %v", err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, encoding/json has %+v", got, want)
			}
		}
		var tree any
		if err := strict.Unmarshal([]byte(in), &tree, l); err != nil {
			return
		}
		again, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		var second any
		if err := strict.Unmarshal(again, &second, l); err != nil || !reflect.DeepEqual(tree, second) {
			t.Fatalf("%s became %s: %v", in, again, err)
		}
	})
}

// TestHugeNumbers: a number that is too large is not reported as "not a number".
func TestHugeNumbers(t *testing.T) {
	var known struct {
		Timeout float64 `json:"timeout"`
	}
	var free any
	for text, to := range map[string]any{`{"timeout":1e400}`: &known, `{"a":[-1e999999]}`: &free} {
		if err := strict.Unmarshal([]byte(text), to, limits); err == nil || !strings.Contains(err.Error(), "a number is too large") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
