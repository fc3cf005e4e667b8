package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// description is the OpenAPI document as a client reads it.
type description struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct{ Schema map[string]any }
		}
	}
	Components struct{ Schemas map[string]map[string]any }
}

var descriptions sync.Map // of documents: *description

// readDescription parses a document, once for all tests with the same one.
func readDescription(doc []byte) (*description, error) {
	if d, ok := descriptions.Load(string(doc)); ok {
		return d.(*description), nil
	}
	d := new(description)
	if err := json.Unmarshal(doc, d); err != nil {
		return nil, err
	}
	descriptions.Store(string(doc), d)
	return d, nil
}

// fits returns an error if a value does not match a schema. An unknown keyword is an error, so that an
// extended document is never checked only in part.
func (d *description) fits(at string, s map[string]any, v any) error {
	for keyword := range s {
		switch keyword {
		case "$ref", "type", "properties", "required", "items", "enum", "minimum", "format", "contentEncoding", "additionalProperties", "description":
		default:
			return fmt.Errorf("%s: the schema has the keyword %s, which this test does not know", at, keyword)
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		if d.Components.Schemas[name] == nil {
			return fmt.Errorf("%s: no schema %s", at, ref)
		}
		return d.fits(at, d.Components.Schemas[name], v)
	}
	types, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		types = []any{one}
	}
	if !slices.ContainsFunc(types, func(t any) bool { return isA(v, t) }) {
		return fmt.Errorf("%s: %v is none of %v", at, v, types)
	}
	if values, ok := s["enum"].([]any); ok && !slices.Contains(values, v) {
		return fmt.Errorf("%s: %v is none of %v", at, v, values)
	}
	switch v := v.(type) {
	case float64:
		if least, ok := s["minimum"].(float64); ok && v < least {
			return fmt.Errorf("%s: %v is below %v", at, v, least)
		}
	case string:
		if s["contentEncoding"] == "base64" {
			if _, err := base64.StdEncoding.Strict().DecodeString(v); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
		}
	case []any:
		items, _ := s["items"].(map[string]any)
		for i, e := range v {
			if err := d.fits(fmt.Sprintf("%s[%d]", at, i), items, e); err != nil {
				return err
			}
		}
	case map[string]any:
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%s: %s is missing", at, name)
			}
		}
		properties, _ := s["properties"].(map[string]any)
		for name, e := range v {
			p, ok := properties[name].(map[string]any)
			if !ok {
				return fmt.Errorf("%s: %s is not described", at, name)
			}
			if err := d.fits(at+"."+name, p, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// isA reports whether a value has a type of JSON Schema.
func isA(v, t any) bool {
	switch v := v.(type) {
	case nil:
		return t == "null"
	case bool:
		return t == "boolean"
	case string:
		return t == "string"
	case float64:
		return t == "number" || t == "integer" && v == math.Trunc(v)
	case []any:
		return t == "array"
	}
	return t == "object"
}

// matches returns an error if a response does not match its description.
func matches(doc []byte, method, pattern string, status int, contentType string, body []byte) error {
	d, err := readDescription(doc)
	if err != nil {
		return err
	}
	op, ok := d.Paths[pattern][strings.ToLower(method)]
	if !ok {
		return fmt.Errorf("%s %s is not described", method, pattern)
	}
	response, ok := op.Responses[fmt.Sprint(status)]
	if !ok {
		if response, ok = op.Responses["default"]; !ok {
			return fmt.Errorf("the answer %d is not described", status)
		}
	}
	if len(response.Content) == 0 {
		if len(body) != 0 {
			return fmt.Errorf("the answer %d has a body, its description has none: %.200s", status, body)
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	content, ok := response.Content[kind]
	if err != nil || !ok {
		return fmt.Errorf("the answer %d is a %q, which is not described", status, contentType)
	}
	if content.Schema == nil || kind != "application/json" {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("the answer %d: %w: %.200s", status, err, body)
	}
	return d.fits("answer", content.Schema, v)
}

// asDescribed checks every response in the tests of this package against the API's own description.
func (r *realm) asDescribed(req *http.Request, rep reply) {
	if _, fuzzing := r.t.(*testing.F); fuzzing {
		return // methods of testing.F must not be called inside a fuzz target
	}
	r.t.Helper()
	for _, route := range r.api.Routes() {
		if route.Method != req.Method || !samePath(route.Path, req.URL.Path) || route.Signed {
			continue
		}
		if err := matches(r.api.OpenAPI(), route.Method, route.Path, rep.status, rep.header.Get("Content-Type"), rep.body); err != nil {
			r.t.Errorf("%s %s: the answer violates the OpenAPI document: %v", route.Method, route.Path, err)
		}
		return
	}
}

// samePath reports whether a path matches a pattern with {parameters}.
func samePath(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// TestAnswersAreCompared checks that a difference between a response and its description is detected.
func TestAnswersAreCompared(t *testing.T) {
	doc := newRealm(t, wide()).api.OpenAPI()
	const kind = "application/json"
	for _, c := range []struct {
		method, path string
		status       int
		kind, body   string
		ok           bool
	}{
		{"POST", "/v1/challenges", 200, kind, `{"nonce":"AAAA","expires_ms":1}`, true},
		{"POST", "/v1/challenges", 200, kind, `{"nonce":"AAAA","expires_ms":1,"not_described":true}`, false},
		{"POST", "/v1/challenges", 200, kind, `{"nonce":"AAA","expires_ms":1}`, false},
		{"POST", "/v1/challenges", 200, kind, `{"nonce":"AAAA","expires_ms":1.5}`, false},
		{"POST", "/v1/challenges", 200, kind, `{"nonce":"AAAA"}`, false},
		{"POST", "/v1/challenges", 200, kind, `{"nonce":7,"expires_ms":1}`, false},
		{"POST", "/v1/challenges", 200, kind, `[]`, false},
		{"POST", "/v1/challenges", 200, "text/plain", `{"nonce":"AAAA","expires_ms":1}`, false},
		{"POST", "/v1/challenges", 429, kind, `{"error":{"code":"rate_limited","message":"later","retry_after":1}}`, true},
		{"POST", "/v1/challenges", 429, kind, `{"message":"later"}`, false},
		{"POST", "/v1/nothing", 200, kind, `{}`, false},
	} {
		if err := matches(doc, c.method, c.path, c.status, c.kind, []byte(c.body)); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
