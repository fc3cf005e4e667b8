package api

import (
	"strings"
	"testing"
)

// TestManyValuesAreRefusedUnparsed holds the bound on the number of values from
// both sides; what stands in strings does not count.
func TestManyValuesAreRefusedUnparsed(t *testing.T) {
	t.Parallel()
	list := func(n int, item string) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	var out struct {
		A []any `json:"a"`
	}
	for name, c := range map[string]struct {
		body string
		ok   bool
	}{
		"most":              {list(maxValues-1, "0"), true},
		"too many":          {list(maxValues+1, "0"), false},
		"too many objects":  {list(maxValues/2+1, "{}"), false},
		"commas in strings": {list(2, `"`+strings.Repeat(`,[{\",`, maxValues)+`"`), true},
		"unterminated":      {`{"a":["` + strings.Repeat(",", maxValues) + `\`, false},
	} {
		err := unmarshalStrict([]byte(c.body), &out)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		many := err != nil && strings.Contains(err.Error(), "values")
		if strings.HasPrefix(name, "too many") != many {
			t.Errorf("%s: %v", name, err)
		}
	}
}
