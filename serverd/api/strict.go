package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request body; ours has three levels.
const maxDepth = 8

// maxValues bounds the values of a request body: what a parser spends goes by
// their number, not by their bytes. The largest body of ours, full of the shortest
// prekeys, has 3,500.
const maxValues = 4096

// unmarshalStrict is json.Unmarshal that refuses what two parsers could see as
// two different requests: the same key twice, a key with capital letters (ours
// have none, and encoding/json would take it for the one without), and what is
// not UTF-8 (which it would change). It refuses deep nesting and very many
// values, too. Unknown fields are refused by the schema.
func unmarshalStrict(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	if manyValues(data) {
		return fmt.Errorf("more than %d values", maxValues)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return json.Unmarshal(data, v)
}

// manyValues reports whether there are more than maxValues values, without
// parsing them: each but the first of an array or object follows a comma.
func manyValues(data []byte) bool {
	n, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++ // what is escaped ends no string
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			if n++; n > maxValues {
				return true
			}
		}
	}
	return false
}

// folded reports whether a name has letters that encoding/json would take for
// other ones: capitals, and the long s and the Kelvin sign of Unicode.
func folded(name string) bool {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// checkValue reads one value from d.
func checkValue(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			t, err := d.Token()
			if err != nil {
				return fmt.Errorf("not JSON: %w", err)
			}
			name, _ := t.(string)
			if folded(name) {
				return errors.New("a field's name has other letters than small ones")
			}
			if seen[name] {
				return errors.New("a field stands twice")
			}
			seen[name] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return nil
}
