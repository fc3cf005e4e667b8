package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// entry is one leaf of a configuration struct in the order of its fields.
type entry struct {
	key   string // dotted
	name  string // last element
	depth int
	doc   string
	value reflect.Value // the zero Value for a section
}

// entries lists the sections and leaves of a pointer to a configuration struct.
func entries(s any) []entry {
	var list []entry
	var walk func(v reflect.Value, prefix string, depth int)
	walk = func(v reflect.Value, prefix string, depth int) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, ok := f.Tag.Lookup(tagName)
			if !ok || name == "-" {
				continue
			}
			e := entry{key: prefix + name, name: name, depth: depth, doc: f.Tag.Get("doc")}
			if f.Type.Kind() == reflect.Struct {
				list = append(list, e)
				walk(v.Field(i), e.key+".", depth+1)
				continue
			}
			e.value = v.Field(i)
			list = append(list, e)
		}
	}
	walk(reflect.ValueOf(s).Elem(), "", 0)
	return list
}

// sampleHead begins the file that `serverd init` writes.
const sampleHead = `# Configuration of secmsg serverd. Every option is listed with its default.
# To change an option, remove the # in front of it and of the sections it is in.
# Every option can also be set by an environment variable: limits.mailbox.bytes
# by SECMSG_LIMITS_MAILBOX_BYTES.

`

// SampleServer returns the text of a configuration file in which domain and address are
// set, and every other option is a comment with its default.
func SampleServer(domain, address string) string {
	s := DefaultServer()
	s.Domain, s.Address = domain, address
	var b strings.Builder
	b.WriteString(sampleHead)
	for _, e := range entries(&s) {
		indent := strings.Repeat("  ", e.depth)
		if e.depth == 0 && e.doc != "" {
			fmt.Fprintf(&b, "# %s\n", e.doc)
		}
		mark := "#"
		if e.key == "domain" || e.key == "address" {
			mark = ""
		}
		line := mark + indent + e.name + ":"
		if e.value.IsValid() {
			line += " " + scalar(e.value)
		}
		if e.depth > 0 && e.doc != "" {
			line += "  # " + e.doc
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// scalar writes a leaf as YAML.
func scalar(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return FormatDuration(x)
	case Size:
		return x.String()
	case []string:
		quoted := make([]string, len(x))
		for i, s := range x {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case string:
		return strconv.Quote(x)
	default:
		return fmt.Sprint(x)
	}
}
