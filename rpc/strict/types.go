package strict

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// target returns the type that encoding/json fills, without pointers, or nil for a type that decodes
// itself or accepts anything.
func target(t reflect.Type) reflect.Type {
	for t != nil {
		if decodesItself(t) {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			break
		}
		t = t.Elem()
	}
	return t
}

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// known maps a struct type to its map[string]reflect.Type.
var known sync.Map

// fields returns the members of a struct type by their JSON names.
func fields(t reflect.Type) map[string]reflect.Type {
	if m, ok := known.Load(t); ok {
		return m.(map[string]reflect.Type)
	}
	m, depth := map[string]reflect.Type{}, map[string]int{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-", !f.IsExported():
			continue
		case name == "" && f.Anonymous:
			continue // its own fields follow
		case name == "":
			name = f.Name
		}
		if d, ok := depth[name]; ok && d <= len(f.Index) {
			continue // encoding/json fills the outer one
		}
		m[name], depth[name] = f.Type, len(f.Index)
	}
	known.Store(t, m)
	return m
}
