package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one error in a configuration.
type Problem struct {
	File string // "" if the problem is not in a file
	Line int    // in File, from 1; 0 if the problem is not on a line
	Key  string // a key as in the file, or the name of an environment variable; "" if it is about no single key
	Text string
}

// String is one line: FILE:LINE: key: text.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line))
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Invalid lists all problems of a configuration, in the order of the file.
type Invalid struct{ Problems []Problem }

// Error returns a line for each problem.
func (e *Invalid) Error() string { return strings.Join(e.Lines(), "\n") }

// Lines returns the problems as lines of text.
func (e *Invalid) Lines() []string {
	out := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		out = append(out, p.String())
	}
	return out
}

// invalid returns an *Invalid, or nil if there is no problem.
func invalid(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return &Invalid{Problems: problems}
}

// broken converts the errors of Validate to problems. Each error begins with the key,
// or the comma-separated keys, that it is about.
func broken(err error) []Problem {
	if err == nil {
		return nil
	}
	if all, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		var out []Problem
		for _, one := range all.Unwrap() {
			out = append(out, broken(one)...)
		}
		return out
	}
	key, text, found := strings.Cut(err.Error(), ": ")
	if !found || strings.ContainsAny(key, " \"") && !strings.Contains(key, ", ") {
		return []Problem{{Text: err.Error()}}
	}
	return []Problem{{Key: key, Text: text}}
}

// name quotes a key from the file if it holds characters that do not belong in an
// error message.
func name(key string) string {
	for _, r := range key {
		if r <= ' ' || r > '~' || r == '"' {
			return strconv.QuoteToASCII(key)
		}
	}
	return key
}

func problemf(key, format string, args ...any) Problem {
	return Problem{Key: key, Text: fmt.Sprintf(format, args...)}
}
