package schema

import (
	"reflect"
	"regexp"
	"strings"

	"secmsg/rpc/local"
)

// ref describes a type, and adds the objects in it to the contract.
func (r *reader) ref(t reflect.Type) Ref {
	switch t {
	case reflect.TypeFor[local.Time]():
		return Ref{Kind: Time, Nullable: true}
	case reflect.TypeFor[[]byte]():
		return Ref{Kind: Bytes}
	case reflect.TypeFor[local.Empty]():
		return Ref{Kind: Object}
	}
	switch t.Kind() {
	case reflect.Pointer:
		out := r.ref(t.Elem())
		out.Nullable = true
		return out
	case reflect.String:
		return Ref{Kind: String}
	case reflect.Bool:
		return Ref{Kind: Boolean}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return Ref{Kind: Integer}
	case reflect.Float64:
		return Ref{Kind: Float}
	case reflect.Slice:
		elem := r.ref(t.Elem())
		return Ref{Kind: List, Elem: &elem}
	case reflect.Map:
		elem := r.ref(t.Elem())
		return Ref{Kind: Map, Elem: &elem}
	case reflect.Struct:
		r.object(t)
		return Ref{Kind: Object, Name: t.Name()}
	}
	r.problem("the type %s has no place in JSON", t)
	return Ref{}
}

// object adds an object to the contract.
func (r *reader) object(t reflect.Type) {
	if r.known[t] {
		return
	}
	r.known[t] = true
	i := len(r.out.Types)
	r.out.Types = append(r.out.Types, Type{Name: t.Name(), Doc: r.about(t)})
	members := r.members(t)
	r.out.Types[i].Members = members
}

// members returns the members of an object, including those of embedded structs.
func (r *reader) members(t reflect.Type) []Member {
	var out []Member
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		doc := r.text(r.src.field(t.Name(), f.Name), f.Name, t)
		if f.Anonymous && name == "" {
			inner := r.members(f.Type)
			if doc != "" && len(inner) == 1 {
				inner[0].Doc = doc // the outer comment, which gives the meaning in this object
			}
			out = append(out, inner...)
			continue
		}
		if name == "-" {
			continue
		}
		if doc == "" {
			r.problem("%s.%s (%s) has no description", t.Name(), f.Name, name)
		}
		optional := strings.Contains(options, "omitempty")
		m := Member{Name: name, Doc: doc, Type: r.ref(f.Type), Optional: optional}
		m.Type.Nullable = m.Type.Nullable && !optional
		out = append(out, m)
	}
	return out
}

// belongs matches the phrases with which a comment only says which method a type belongs to.
var belongs = regexp.MustCompile(`^\w+ (are the parameters of|answers) [a-z.]+((, [a-z.]+)* and [a-z.]+)?( for one account)?\b(\.|: |$)`)

// about returns the description of an object.
func (r *reader) about(t reflect.Type) string {
	doc := r.text(r.src.types[t.Name()], "", nil)
	if doc == "" {
		r.problem("type %s has no description", t.Name())
	}
	if at := belongs.FindStringIndex(doc); at != nil {
		return upper(strings.TrimSpace(doc[at[1]:]))
	}
	return phrase(doc, t.Name())
}

// aboutParams returns the parts of the comments of a parameter type, and of its
// embedded types, that describe several parameters together.
func (r *reader) aboutParams(t reflect.Type) string {
	var all []string
	if doc := r.src.types[t.Name()]; belongs.MatchString(doc) {
		if text := r.about(t); text != "" {
			all = append(all, text)
		}
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && !strings.Contains(f.Name, "Param") {
			all = append(all, r.about(f.Type))
		}
	}
	return strings.Join(all, "\n\n")
}

// allTypes returns every struct of the methods' parameters and results, and of the notifications.
func allTypes() []reflect.Type {
	var out []reflect.Type
	seen := map[reflect.Type]bool{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		out = append(out, t)
		for i := range t.NumField() {
			visit(t.Field(i).Type)
		}
	}
	for _, m := range local.Methods() {
		visit(m.Params)
		visit(m.Result)
	}
	for _, n := range local.Notifications() {
		visit(n.Params)
	}
	return out
}
