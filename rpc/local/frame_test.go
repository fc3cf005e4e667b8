package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadLine(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("short\n\n"+strings.Repeat("x", 100)+"\nlast"), 16)
	for _, want := range []string{"short", "", strings.Repeat("x", 100), "last"} {
		got, err := ReadLine(r, 100)
		if err != nil || string(got) != want {
			t.Fatalf("ReadLine = %q, %v; want %q", got, err, want)
		}
	}
	if _, err := ReadLine(r, 100); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, in := range []string{strings.Repeat("x", 101) + "\n", strings.Repeat("x", 1000)} {
		if _, err := ReadLine(bufio.NewReaderSize(strings.NewReader(in), 16), 100); !errors.Is(err, ErrLineTooLong) {
			t.Errorf("%d bytes: %v", len(in), err)
		}
	}
}

func TestCheckDepth(t *testing.T) {
	for in, want := range map[string]bool{
		``: true, `7`: true, `{"a":[1,{"b":2}]}`: true, `[[[[]]]]`: false,
		`"[[[[[[["`: true, `["\"[[[[[["]`: true, `[][][][][]`: true, `"\\"[[[[`: false,
	} {
		if got := CheckDepth([]byte(in), 3); got != want {
			t.Errorf("CheckDepth(%s) = %v", in, got)
		}
	}
}

// FuzzCheckDepth compares CheckDepth with the nesting seen by the standard library's decoder.
func FuzzCheckDepth(f *testing.F) {
	f.Add(`{"a":[1,{"b":"[["}]}`)
	f.Add(`["\\\"[",{}]`)
	f.Fuzz(func(t *testing.T, in string) {
		if !json.Valid([]byte(in)) {
			return
		}
		d := json.NewDecoder(strings.NewReader(in))
		depth, deepest := 0, 0
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
				deepest = max(deepest, depth)
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
		}
		for limit := range 5 {
			if got, want := CheckDepth([]byte(in), limit), deepest <= limit; got != want {
				t.Fatalf("CheckDepth(%q, %d) = %v, depth %d", in, limit, got, deepest)
			}
		}
	})
}

func TestErrorOfAnotherVersion(t *testing.T) {
	e := (&RPCError{Code: RPCNoMethod, Message: "no such method"}).asError()
	if e.Code != CodeUsage || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if e := (&RPCError{Code: -1, Message: "?"}).asError(); e.Code != CodeInternal {
		t.Errorf("%+v", e)
	}
}

func TestTimeJSON(t *testing.T) {
	var at Time
	if err := json.Unmarshal([]byte(`"2026-03-04T05:06:07.089999+01:00"`), &at); err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(at); err != nil || string(b) != `"2026-03-04T04:06:07.089Z"` {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := json.Marshal(Time{}); err != nil || string(b) != "null" {
		t.Errorf("%s, %v", b, err)
	}
	if err := json.Unmarshal([]byte("null"), &at); err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}
}
