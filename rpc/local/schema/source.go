package schema

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// constant is a constant of the source.
type constant struct {
	name   string
	text   bool   // it is a string
	value  string // of a string
	number int64  // of another one
	doc    string
	group  string // comment of its group
	at     int    // number of its group
}

// source holds the constants and comments of package local.
type source struct {
	constants []constant
	types     map[string]string            // comments of types
	fields    map[string]map[string]string // comments of fields by type
}

func parse(src fs.FS) (*source, error) {
	s := &source{types: map[string]string{}, fields: map[string]map[string]string{}}
	names, err := fs.Glob(src, "*.go")
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	groups := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := fs.ReadFile(src, name)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(fset, path.Base(name), text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the source: %w", err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			groups++
			for _, spec := range g.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					if g.Tok == token.CONST {
						s.constant(spec, g, groups)
					}
				case *ast.TypeSpec:
					s.types[spec.Name.Name] = comment(spec.Doc, spec.Comment, g.Doc)
					if t, ok := spec.Type.(*ast.StructType); ok {
						s.fields[spec.Name.Name] = fieldComments(t)
					}
				}
			}
		}
	}
	return s, nil
}

func (s *source) constant(spec *ast.ValueSpec, g *ast.GenDecl, at int) {
	if len(spec.Names) != 1 || len(spec.Values) != 1 {
		return
	}
	c := constant{name: spec.Names[0].Name, doc: comment(spec.Doc, spec.Comment), group: comment(g.Doc), at: at}
	if !g.Lparen.IsValid() {
		c.doc = c.group
	}
	if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
		value, err := strconv.Unquote(lit.Value)
		c.text, c.value = err == nil, value
	} else {
		c.number = number(spec.Values[0])
	}
	s.constants = append(s.constants, c)
}

// number evaluates the forms in which the constants of the contract are written.
func number(e ast.Expr) int64 {
	switch e := e.(type) {
	case *ast.BasicLit:
		n, err := strconv.ParseInt(e.Value, 0, 64)
		if err == nil {
			return n
		}
	case *ast.UnaryExpr:
		return -number(e.X)
	case *ast.BinaryExpr:
		if e.Op == token.SHL {
			return number(e.X) << number(e.Y)
		}
	}
	return 0
}

func fieldComments(t *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, f := range t.Fields.List {
		doc := comment(f.Doc, f.Comment)
		for _, n := range f.Names {
			out[n.Name] = doc
		}
		if id, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
			out[id.Name] = doc
		}
	}
	return out
}

// comment returns the first comment that is not empty, each paragraph as one line.
func comment(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if text := strings.TrimSpace(g.Text()); text != "" {
			paragraphs := strings.Split(text, "\n\n")
			for i, p := range paragraphs {
				paragraphs[i] = strings.Join(strings.Fields(p), " ")
			}
			return strings.Join(paragraphs, "\n\n")
		}
	}
	return ""
}

// prefixed returns the string constants whose names begin with prefix and a capital letter.
func (s *source) prefixed(prefix string) []constant {
	var out []constant
	for _, c := range s.constants {
		rest, ok := strings.CutPrefix(c.name, prefix)
		first, _ := utf8.DecodeRuneInString(rest)
		if ok && c.text && unicode.IsUpper(first) {
			out = append(out, c)
		}
	}
	return out
}

// named returns the constant whose name begins with prefix and that has this value.
func (s *source) named(prefix, value string) (constant, bool) {
	for _, c := range s.prefixed(prefix) {
		if c.value == value {
			return c, true
		}
	}
	return constant{}, false
}

// group returns all constants of the group of one of them.
func (s *source) group(member string) []constant {
	at := slices.IndexFunc(s.constants, func(c constant) bool { return c.name == member })
	if at < 0 {
		return nil
	}
	var out []constant
	for _, c := range s.constants {
		if c.at == s.constants[at].at {
			out = append(out, c)
		}
	}
	return out
}

func (s *source) field(typ, name string) string { return s.fields[typ][name] }

var (
	reference = regexp.MustCompile(`\[([A-Z]\w*)(?:\.([A-Z]\w*))?\]`)
	camel     = regexp.MustCompile(`\b[A-Z][a-z0-9]+[A-Z]\w*\b`)
)

// text adapts a comment for a reader who does not know the source: it removes the
// leading name, and replaces references ([Name]) by the names of the contract. t is
// the type to whose field the comment belongs, if any.
func (r *reader) text(doc, name string, t reflect.Type) string {
	return phrase(r.references(doc, t), name)
}

// references replaces references by the names of the contract, and reports names of
// the source that are not written as references.
func (r *reader) references(doc string, t reflect.Type) string {
	out := reference.ReplaceAllStringFunc(doc, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		for _, c := range r.src.constants {
			if m[2] == "" && c.name == m[1] && c.text {
				return "`" + c.value + "`"
			}
		}
		for _, known := range allTypes() {
			if m[2] != "" && known.Name() == m[1] {
				if f, ok := known.FieldByName(m[2]); ok {
					member, _, _ := strings.Cut(f.Tag.Get("json"), ",")
					return "`" + member + "`"
				}
			}
		}
		r.problem("%q names %s, which does not exist", doc, ref)
		return ref
	})
	_, after, _ := strings.Cut(out, " ") // the first word may be the name itself
	for _, word := range camel.FindAllString(after, -1) {
		isField := false
		if t != nil {
			_, isField = t.FieldByName(word)
		}
		if _, isType := r.src.types[word]; isField || isType || r.src.has(word) {
			r.problem("%q names %s: write [%s], or the name in JSON", doc, word, word)
		}
	}
	return out
}

func (s *source) has(name string) bool {
	return slices.ContainsFunc(s.constants, func(c constant) bool { return c.name == name })
}

// phrase removes the name with which a Go comment begins: "Name is the ..." becomes "The ...".
func phrase(doc, name string) string {
	if name != "" {
		if rest, ok := strings.CutPrefix(doc, name+" "); ok {
			for _, verb := range []string{"is ", "are "} {
				rest = strings.TrimPrefix(rest, verb)
			}
			doc = rest
		}
	}
	return upper(doc)
}

// upper begins a text with a capital letter, unless its first word is a name.
func upper(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if strings.ContainsAny(word, "@`_./") || s == "" {
		return s
	}
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
