package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// tagName is the struct tag that holds a field's key in the file.
const tagName = "config"

// envPrefix begins every environment variable that is a configuration key.
const envPrefix = "SECMSG"

// maxFile bounds a configuration file in bytes; a longer one is a mistake in the path.
const maxFile = 1 << 20

// Source says where Load looks. The struct's own values are the defaults; then
// each of the fields here goes over the ones before it, with the environment
// between File and Values.
type Source struct {
	// File is the path of a YAML file; empty for none.
	File string
	// Optional makes a missing File no error.
	Optional bool
	// Values are explicit settings by key as in the file ("limits.mailbox.bytes"), for flags that were given.
	Values map[string]any
}

// validator is implemented by structs that hold rules over their fields.
type validator interface{ Validate() error }

// Load fills into, a pointer to a struct whose fields carry `config:"key"`
// tags and which holds the defaults. A key `a.b` is read from the environment
// as SECMSG_A_B. Durations are Go durations or whole days ("30d"); sizes take
// KiB, MiB, GiB. The error joins everything that is wrong, each with its key.
func Load(src Source, into any) error {
	v := viper.New()
	v.SetConfigType("yaml")
	var problems []error
	if err := readFile(v, src); err != nil {
		problems = append(problems, err)
	}
	root := reflect.ValueOf(into).Elem()
	leaves := map[string]reflect.Value{}
	collect(root, "", leaves)
	for _, key := range slices.Sorted(maps.Keys(leaves)) {
		if err := v.BindEnv(key, EnvName(key)); err != nil {
			problems = append(problems, fmt.Errorf("bind %s: %w", key, err))
		}
	}
	for key, value := range src.Values {
		v.Set(key, value)
	}
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		if _, known := leaves[key]; !known {
			problems = append(problems, unknown(key, leaves))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(leaves)) {
		if !v.IsSet(key) {
			continue
		}
		if err := v.UnmarshalKey(key, leaves[key].Addr().Interface(), decoder); err != nil {
			problems = append(problems, fmt.Errorf("%s: %s", where(key, src), reason(err)))
		}
	}
	if len(problems) == 0 {
		if val, ok := into.(validator); ok {
			if err := val.Validate(); err != nil {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(problems...)
}

// EnvName returns the environment variable that sets key.
func EnvName(key string) string {
	return envPrefix + "_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// readFile reads src.File into v.
func readFile(v *viper.Viper, src Source) error {
	if src.File == "" {
		return nil
	}
	info, err := os.Stat(src.File)
	if errors.Is(err, fs.ErrNotExist) && src.Optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return fmt.Errorf("read configuration: %s is over %d bytes long", src.File, maxFile)
	}
	f, err := os.Open(src.File)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if err := v.ReadConfig(f); err != nil {
		return fmt.Errorf("read configuration %s: %w", src.File, err)
	}
	return nil
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

// unknown words the report of a key that no field has.
func unknown(key string, leaves map[string]reflect.Value) error {
	for leaf := range leaves {
		if strings.HasPrefix(leaf, key+".") {
			return fmt.Errorf("%s: a section is expected here, not a value", key)
		}
		if strings.HasPrefix(key, leaf+".") {
			return fmt.Errorf("%s: a value is expected here, not a section", leaf)
		}
	}
	return fmt.Errorf("%s: unknown key", key)
}

// where names a key as the user wrote it: an environment variable or a key.
func where(key string, src Source) string {
	if _, explicit := src.Values[key]; !explicit {
		if _, set := os.LookupEnv(EnvName(key)); set {
			return EnvName(key)
		}
	}
	return key
}

// reason shortens a decoding error to what a user can act on.
func reason(err error) string {
	text := err.Error()
	if parts := strings.Split(text, "\n"); len(parts) > 1 {
		text = strings.TrimSpace(parts[len(parts)-1])
	}
	text = strings.TrimPrefix(text, "decoding failed due to the following error(s):")
	text = strings.TrimSpace(text)
	if strings.Contains(text, "unconvertible type 'map[") {
		return "a value is expected here, not a section"
	}
	if rest, ok := strings.CutPrefix(text, "'' "); ok {
		text = rest
	}
	return text
}

// decoder sets the conversions of Load.
func decoder(c *mapstructure.DecoderConfig) {
	c.TagName = tagName
	c.DecodeHook = mapstructure.ComposeDecodeHookFunc(
		durationHook,
		mapstructure.TextUnmarshallerHookFunc(),
		mapstructure.StringToSliceHookFunc(","),
	)
}

// durationHook turns text into a time.Duration. A bare number is refused,
// since nanoseconds are never what was meant.
func durationHook(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("%v is not a duration such as 30s, 10m or 30d", value)
	}
	return ParseDuration(text)
}
