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
	keys   []string       // of all values, sections left out, in the order of the file
	values map[string]any // of keys
	lines  map[string]int // of keys, those of sections included
	unread bool           // nothing is known of its values
}

// readFile reads src.File; the result is empty if there is none. What is wrong
// with its YAML are problems, what is wrong with the file is an error.
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
		return []Problem{{Text: "a second document (---) follows, which nobody reads"}}
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
		return []Problem{{Line: root.Line, Text: "keys and values are expected"}}
	}
	return f.section(root, "")
}

// section walks one mapping. Keys are taken as they are written: a configuration
// library that ignores their case would let one of Domain and domain win.
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
			at("not a key")
			continue
		case v.Kind == yaml.AliasNode:
			at("aliases are not supported")
			continue
		case f.lines[key] != 0:
			at(fmt.Sprintf("already set in line %d", f.lines[key]))
			continue
		}
		f.lines[key] = k.Line
		if v.Kind == yaml.MappingNode && len(v.Content) > 0 {
			problems = append(problems, f.section(v, key+".")...)
			continue
		}
		if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
			continue // a section or key without a value, as the sample may leave it
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

// yamlLine is how the parser begins its errors.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func yamlProblem(err error) Problem {
	text, _, _ := strings.Cut(err.Error(), "\n")
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return Problem{Text: "not YAML: " + text}
	}
	line, _ := strconv.Atoi(m[1]) // no line is 0
	return Problem{Line: line, Text: "not YAML: " + text[len(m[0]):]}
}

// line returns the line of a key, or of the section that it would be in, or 0.
// Of several keys, separated by commas, the first that stands in the file counts.
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
