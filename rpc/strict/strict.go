package strict

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits bound one JSON text. The caller bounds its length when reading it.
type Limits struct {
	Depth  int // nesting depth of arrays and objects
	Values int // number of values, which determines a parser's cost
}

// ErrLimit is wrapped by errors about text that exceeds its Limits, ErrSyntax by errors about text that
// is not JSON in UTF-8.
var (
	ErrLimit  = errors.New("input exceeds its limits")
	ErrSyntax = errors.New("not JSON")
)

// Unmarshal decodes data into the value that v points to. If the text violates a rule of this package,
// it returns an error that explains the problem and leaves the value unchanged. A null leaves a field
// unchanged.
func Unmarshal(data []byte, v any, l Limits) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: not UTF-8", ErrSyntax)
	}
	if err := l.check(data); err != nil {
		return err
	}
	if !json.Valid(data) {
		// The decoder has better error messages than Valid, and fails here without decoding anything.
		err := json.Unmarshal(data, new(json.RawMessage))
		return fmt.Errorf("%w: %v", ErrSyntax, err)
	}
	w := walker{data: data}
	if err := w.value(reflect.TypeOf(v)); err != nil {
		return err
	}
	return inWords(json.Unmarshal(data, v))
}

// inWords translates an error of encoding/json into words without names of Go types.
func inWords(err error) error {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return err
	}
	var path []string
	for part := range strings.SplitSeq(e.Field, ".") {
		// Embedded structs appear in the path by the names of their types.
		if part != "" && !('A' <= part[0] && part[0] <= 'Z') {
			path = append(path, part)
		}
	}
	what, _, _ := strings.Cut(e.Value, " ")
	text := fmt.Sprintf("%s expected, not this %s", expected(e.Type), what)
	if k := e.Type.Kind(); what == "number" && (k == reflect.Float64 || k == reflect.Float32 || k == reflect.Interface) {
		text = "a number is too large" // such as 1e400
	}
	if len(path) == 0 {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %s", quote([]byte(strings.Join(path, "."))), text)
}

func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a base64 string"
		}
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "an integer of " + strconv.Itoa(t.Bits()) + " bits"
}

// check enforces the limits without parsing, so that it reads each byte of a hostile text only once.
// Every value of an array or object except the first follows a comma.
func (l Limits) check(data []byte) error {
	depth, values, quoted := 0, 1, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++ // an escaped byte does not end the string
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			values++
			if depth++; depth > l.Depth {
				return fmt.Errorf("%w: nested deeper than %d", ErrLimit, l.Depth)
			}
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		}
		if values > l.Values {
			return fmt.Errorf("%w: more than %d values", ErrLimit, l.Values)
		}
	}
	return nil
}

// walker walks once through valid JSON of bounded depth.
type walker struct {
	data []byte
	pos  int
}

// value walks over one value that will be decoded into a t. A nil t is a type whose members are not
// known here.
func (w *walker) value(t reflect.Type) error {
	t = target(t)
	switch w.peek() {
	case '{':
		return w.object(t)
	case '[':
		return w.array(t)
	case '"':
		_, err := w.text()
		return err
	}
	for w.pos < len(w.data) && !delimits(w.data[w.pos]) {
		w.pos++
	}
	return nil
}

func (w *walker) object(t reflect.Type) error {
	var known map[string]reflect.Type // nil allows any name
	var elem reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		known = fields(t)
	} else if t != nil && t.Kind() == reflect.Map {
		elem = t.Elem()
	}
	var seen names
	w.pos++
	for w.peek() != '}' {
		name, err := w.text()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return fmt.Errorf("duplicate member %s", quote(name))
		}
		if known != nil {
			var ok bool
			if elem, ok = known[string(name)]; !ok {
				return fmt.Errorf("unknown member %s", quote(name))
			}
		}
		w.peek()
		w.pos++ // the colon
		if err := w.value(elem); err != nil {
			return err
		}
		if w.peek() == ',' {
			w.pos++
			w.peek()
		}
	}
	w.pos++
	return nil
}

func (w *walker) array(t reflect.Type) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	n := 0
	w.pos++
	for w.peek() != ']' {
		if err := w.value(elem); err != nil {
			return err
		}
		n++
		if w.peek() == ',' {
			w.pos++
		}
	}
	w.pos++
	if elem != nil && t.Kind() == reflect.Array && n != t.Len() {
		return fmt.Errorf("an array has %d elements, not %d", n, t.Len())
	}
	return nil
}

// text walks over a string and returns its decoded form. It refuses half of a surrogate pair, which
// encoding/json would replace by U+FFFD.
func (w *walker) text() ([]byte, error) {
	start, escaped := w.pos, false
	for w.pos++; w.data[w.pos] != '"'; w.pos++ {
		if w.data[w.pos] != '\\' {
			continue
		}
		escaped = true
		w.pos++
		if w.data[w.pos] != 'u' {
			continue
		}
		r := w.hex(w.pos + 1)
		w.pos += 4
		switch {
		case r < 0xD800 || r > 0xDFFF:
		case r < 0xDC00 && w.data[w.pos+1] == '\\' && w.data[w.pos+2] == 'u' && w.hex(w.pos+3)&^0x3FF == 0xDC00:
			w.pos += 6
		default:
			return nil, errors.New("a string has half of a surrogate pair")
		}
	}
	w.pos++
	raw := w.data[start:w.pos]
	if !escaped {
		return raw[1 : len(raw)-1], nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrSyntax, err)
	}
	return []byte(s), nil
}

// hex reads the four digits of an escape. It returns 0 if there are none.
func (w *walker) hex(at int) int64 {
	n, err := strconv.ParseInt(string(w.data[at:min(at+4, len(w.data))]), 16, 32)
	if err != nil {
		return 0
	}
	return n
}

// peek skips white space and returns the next byte, or 0 at the end.
func (w *walker) peek() byte {
	for ; w.pos < len(w.data); w.pos++ {
		if c := w.data[w.pos]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

func delimits(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// names are the members of one object. Most objects have few members, for which a list is cheaper than
// a map.
type names struct {
	few  [16][]byte
	n    int
	many map[string]bool
}

func (s *names) add(name []byte) bool {
	for _, known := range s.few[:min(s.n, len(s.few))] {
		if string(known) == string(name) {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = map[string]bool{}
	}
	if s.many[string(name)] {
		return false
	}
	s.many[string(name)] = true
	return true
}

// quote makes a caller's name safe for use in a message.
func quote(name []byte) string {
	const most = 64
	if len(name) > most {
		return strconv.QuoteToASCII(string(name[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(name))
}
