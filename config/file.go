package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file is a configuration file that was read.
type file struct {
	path   string
	keys   []string       // keys of all values, without sections, in the order of the file
	values map[string]any // by key
	lines  map[string]int // line numbers by key, including sections
	unread bool           // the file could not be parsed, so its values are unknown
}

// readFile reads src.File. The result is empty if there is no file. Invalid YAML is
// returned as problems, an unreadable file as an error.
func readFile(src Source) (f file, problems []Problem, err error) {
	f.lines, f.values = map[string]int{}, map[string]any{}
	if src.File == "" {
		return f, nil, nil
	}
	info, err := os.Stat(src.File)
	if errors.Is(err, fs.ErrNotExist) && src.Optional {
		return f, nil, nil
	}
	if err != nil {
		return f, nil, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return f, nil, fmt.Errorf("read configuration: %s is over %d bytes long", src.File, maxFile)
	}
	in, err := os.Open(src.File)
	if err != nil {
		return f, nil, fmt.Errorf("read configuration: %w", err)
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxFile))
	if err != nil {
		return f, nil, fmt.Errorf("read configuration: %w", err)
	}
	f.path = src.File
	problems = f.parse(text)
	for i := range problems {
		problems[i].File = f.path
	}
	return f, problems, nil
}

// parse finds keys, values and lines.
func (f *file) parse(text []byte) []Problem {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		f.unread = true
		return []Problem{yamlProblem(err)}
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return []Problem{{Text: "only one document is allowed, but a second one (---) follows"}}
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		f.unread = true
		return []Problem{{Line: root.Line, Text: "expected lines of the form key: value"}}
	}
	return f.section(root, "")
}

// section walks one mapping. Keys are case-sensitive. A library that ignores their case
// would accept both Domain and domain, and silently use one of them.
func (f *file) section(n *yaml.Node, prefix string) []Problem {
	var problems []Problem
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		at := func(text string) {
			problems = append(problems, Problem{Line: k.Line, Key: name(key), Text: text})
		}
		switch {
		case k.Kind != yaml.ScalarNode || k.Value == "<<" || strings.Contains(k.Value, "."):
			at("this is not a valid key")
			continue
		case v.Kind == yaml.AliasNode:
			at("aliases are not supported")
			continue
		case f.lines[key] != 0:
			at(fmt.Sprintf("already set on line %d", f.lines[key]))
			continue
		}
		f.lines[key] = k.Line
		if v.Kind == yaml.MappingNode && len(v.Content) > 0 {
			problems = append(problems, f.section(v, key+".")...)
			continue
		}
		if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
			continue // a section or key without a value, as in the sample file
		}
		var value any
		if err := v.Decode(&value); err != nil {
			at(yamlProblem(err).Text)
			continue
		}
		f.keys = append(f.keys, key)
		f.values[key] = value
	}
	return problems
}

// yamlLine matches the beginning of the parser's errors.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func yamlProblem(err error) Problem {
	text, _, _ := strings.Cut(err.Error(), "\n")
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return Problem{Text: "not valid YAML: " + text}
	}
	line, _ := strconv.Atoi(m[1]) // 0 if there is none
	return Problem{Line: line, Text: "not valid YAML: " + text[len(m[0]):]}
}

// line returns the line of a key, or of the section that it would be in, or 0. key
// may be several keys, separated by commas; the first that is in the file is used.
func (f *file) line(key string) int {
	all := strings.Split(key, ", ")
	for _, k := range all {
		if n := f.lines[k]; n > 0 {
			return n
		}
	}
	for _, k := range all {
		for {
			dot := strings.LastIndexByte(k, '.')
			if dot < 0 {
				break
			}
			k = k[:dot]
			if n := f.lines[k]; n > 0 {
				return n
			}
		}
	}
	return 0
}
