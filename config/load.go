package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// tagName is the struct tag that holds a field's key in the file.
const tagName = "config"

// envPrefix begins the environment variable of every configuration key.
const envPrefix = "SECMSG"

// maxFile bounds a configuration file in bytes. A larger file is surely a wrong path.
const maxFile = 1 << 20

// Source says where Load reads settings from. The struct's initial values are the
// defaults. File overrides them, the environment overrides File, and Values override
// everything.
type Source struct {
	// File is the path of a YAML file; empty for none.
	File string
	// Optional allows File to be missing.
	Optional bool
	// Values are explicit settings, such as flags, by key ("limits.mailbox.bytes").
	Values map[string]any
}

// validator is implemented by structs with rules for their fields.
type validator interface{ Validate() error }

// Load fills into, a pointer to a struct whose fields carry `config:"key"`
// tags and which holds the defaults. A key `a.b` is read from the environment
// as SECMSG_A_B. Durations are Go durations or whole days ("30d"); sizes take
// KiB, MiB, GiB, TiB. All invalid values are reported in one *Invalid.
func Load(src Source, into any) error {
	f, problems, err := readFile(src)
	if err != nil {
		return err
	}
	if f.unread { // checking the defaults would only add misleading problems
		return invalid(problems)
	}
	v := viper.New()
	leaves := map[string]reflect.Value{}
	collect(reflect.ValueOf(into).Elem(), "", leaves)
	for _, key := range slices.Sorted(maps.Keys(leaves)) {
		if err := v.BindEnv(key, EnvName(key)); err != nil {
			return fmt.Errorf("bind %s: %w", key, err)
		}
	}
	for key, value := range src.Values {
		v.Set(key, value)
		if _, known := leaves[key]; !known {
			problems = append(problems, unknown(key, leaves))
		}
	}
	for _, key := range f.keys {
		_, section := f.values[key].(map[string]any) // an empty one
		_, known := leaves[key]
		switch {
		case known && !section:
			// The lowest of viper's sources, below the environment.
			v.SetDefault(key, f.values[key])
		case known:
			problems = append(problems, Problem{f.path, f.line(key), key, "expected a value, not a section"})
		case !section || !isSection(key, leaves):
			p := unknown(key, leaves)
			p.File, p.Line = f.path, f.line(key)
			problems = append(problems, p)
		}
	}
	wrong := map[string]bool{} // keys with a value that could not be read
	for _, p := range problems {
		if _, read := f.values[p.Key]; !read {
			wrong[p.Key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(leaves)) {
		if !v.IsSet(key) {
			continue
		}
		if err := v.UnmarshalKey(key, leaves[key].Addr().Interface(), decoder); err != nil {
			wrong[key] = true
			problems = append(problems, f.place(src, Problem{Key: key, Text: reason(err)}))
		}
	}
	if val, ok := into.(validator); ok {
		for _, p := range broken(val.Validate()) {
			if !wrong[p.Key] { // else the rule fails only because the value was not read
				problems = append(problems, f.place(src, p))
			}
		}
	}
	return invalid(problems)
}

// place adds the source of the invalid value to a problem: an environment variable, a
// flag, or a line of the file.
func (f *file) place(src Source, p Problem) Problem {
	for _, key := range strings.Split(p.Key, ", ") {
		if _, explicit := src.Values[key]; explicit {
			return p
		}
		if os.Getenv(EnvName(key)) != "" {
			p.Key = EnvName(key)
			return p
		}
	}
	p.File, p.Line = f.path, f.line(p.Key)
	return p
}

// EnvName returns the environment variable that sets key.
func EnvName(key string) string {
	return envPrefix + "_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// collect adds every leaf field of a struct under its dotted key.
func collect(s reflect.Value, prefix string, leaves map[string]reflect.Value) {
	for i := range s.NumField() {
		name, ok := s.Type().Field(i).Tag.Lookup(tagName)
		if !ok || name == "-" {
			continue
		}
		key := prefix + name
		if f := s.Field(i); f.Kind() == reflect.Struct {
			collect(f, key+".", leaves)
		} else {
			leaves[key] = f
		}
	}
}

// isSection reports whether a key is a section that holds fields.
func isSection(key string, leaves map[string]reflect.Value) bool {
	for leaf := range leaves {
		if strings.HasPrefix(leaf, key+".") {
			return true
		}
	}
	return false
}

// unknown returns the problem for a key that no field has.
func unknown(key string, leaves map[string]reflect.Value) Problem {
	if isSection(key, leaves) {
		return problemf(name(key), "expected a section, not a value")
	}
	for leaf := range leaves {
		if strings.HasPrefix(key, leaf+".") {
			return problemf(leaf, "expected a value, not a section")
		}
	}
	if low := strings.ToLower(key); low != key {
		if _, known := leaves[low]; known {
			return problemf(name(key), "unknown key; did you mean %s?", low)
		}
	}
	return problemf(name(key), "unknown key")
}

// reason shortens a decoding error to the part that helps a user.
func reason(err error) string {
	text := err.Error()
	if parts := strings.Split(text, "\n"); len(parts) > 1 {
		text = strings.TrimSpace(parts[len(parts)-1])
	}
	text = strings.TrimPrefix(text, "decoding failed due to the following error(s):")
	text = strings.TrimSpace(text)
	if strings.Contains(text, "unconvertible type 'map[") {
		return "expected a value, not a section"
	}
	// Drop the quoted name of the field or list element: the key is printed anyway.
	if at, rest, ok := strings.Cut(text, "' "); ok && strings.HasPrefix(at, "'") {
		text = rest
	}
	return text
}

// decoder sets the conversions of Load.
func decoder(c *mapstructure.DecoderConfig) {
	c.TagName = tagName
	c.DecodeHook = mapstructure.ComposeDecodeHookFunc(
		durationHook,
		plainHook,
		mapstructure.TextUnmarshallerHookFunc(),
		mapstructure.StringToSliceHookFunc(","),
	)
}

// durationHook turns text into a time.Duration. A bare number is refused, since nobody
// means nanoseconds.
func durationHook(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("%v is not a duration (example: 30s, 10m or 30d)", value)
	}
	return ParseDuration(text)
}

// plainHook refuses values that mapstructure would silently convert (true to the text
// 1, or 1.7 to 1), or would refuse with an error about Go types.
func plainHook(from, to reflect.Type, value any) (any, error) {
	if reflect.PointerTo(to).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || from == to {
		return value, nil // UnmarshalText has its own errors
	}
	text, isText := value.(string)
	text = strings.TrimSpace(text)
	switch kind := to.Kind(); kind {
	case reflect.String:
		switch {
		case from.Kind() == reflect.Bool:
			return nil, fmt.Errorf("expected text; if you mean the text \"%v\", put it in quotes", value)
		case from == reflect.TypeFor[time.Time]():
			return nil, errors.New("expected text, not a date; if you mean text, put it in quotes")
		case from.Kind() == reflect.Slice:
			return nil, errors.New("expected one value, not a list")
		}
	case reflect.Bool:
		if _, err := strconv.ParseBool(text); from.Kind() != reflect.Bool && (!isText || err != nil) {
			return nil, fmt.Errorf("%v is neither true nor false", value)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if from.Kind() == reflect.Slice {
			return nil, errors.New("expected one number, not a list")
		}
		if isText {
			// From the environment. Only base 10, as in the file.
			n, err := strconv.ParseInt(text, 10, to.Bits())
			if err != nil || n < 0 && reflect.Uint <= kind && kind <= reflect.Uint64 {
				return nil, fmt.Errorf("%q is not a whole number, or out of range", text)
			}
			return n, nil
		}
		if f, ok := value.(float64); from.Kind() == reflect.Bool || from == reflect.TypeFor[time.Time]() || ok && (f != math.Trunc(f) || math.Abs(f) > 1<<53) {
			return nil, fmt.Errorf("%v is not a whole number", value)
		}
	}
	return value, nil
}
