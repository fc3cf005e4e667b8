// Package schema describes the contract of the local socket as data: methods,
// notifications, events, error codes, values and types, with their descriptions.
// The names and types come from package local by reflection, the descriptions
// from the doc comments in its source, so that neither is written twice. LOCAL.md
// is made from it. It keeps no state.
package schema

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"strings"

	"secmsg/rpc/local"
)

// Contract is everything that a caller of the socket can see.
type Contract struct {
	Methods       []Method
	Notifications []Notification
	Events        []Event
	Codes         []Code
	Causes        []Value
	// Enums are the sets of strings that members can have as values.
	Enums []Enum
	// Numbers are the error numbers of JSON-RPC and the bounds of the socket.
	Numbers []Number
	// Types are the objects in results, notifications and members, in the order of
	// their first use.
	Types []Type
}

// Method is one method. The parameters of a method without parameters are an object
// without members.
type Method struct {
	Name   string
	Doc    string
	Errors []ErrorCase
	// About describes the parameters together; it may be empty.
	About  string
	Params []Member
	Result Ref
}

// ErrorCase is an error of a method and the condition for it. Instead of a code it
// can name "server" or "as of METHOD": the errors of a request to the server, or of
// another method.
type ErrorCase struct {
	Code, When string
}

// Notification is a line without id.
type Notification struct {
	Name                   string
	Doc                    string
	Params                 Ref
	FromDaemon, FromCaller bool
}

// Event is a type of events. Its details are in the member of the same name.
type Event struct {
	Name, Doc string
	Body      Ref
}

// Code is a stable error code with the exit code that the command line makes of it.
type Code struct {
	Value
	Exit int
}

// Value is one string of a set.
type Value struct {
	Name, Doc string
}

// Enum is a set of strings.
type Enum struct {
	Title  string
	Values []Value
}

// Number is a named number.
type Number struct {
	Name  string // of the constant
	Value int64
	Doc   string
}

// Type is an object.
type Type struct {
	Name    string
	Doc     string
	Members []Member
}

// Member is a member of an object.
type Member struct {
	Name     string
	Doc      string
	Type     Ref
	Optional bool // may be left out by the caller; is absent in an answer when it does not apply
}

// Kind is a kind of JSON value.
type Kind string

// The kinds.
const (
	String  Kind = "string"
	Integer Kind = "integer"
	Float   Kind = "number"
	Boolean Kind = "boolean"
	Time    Kind = "time"   // a string, RFC 3339 in UTC with milliseconds, or null
	Bytes   Kind = "base64" // a string
	Object  Kind = "object" // Name is its type; empty: an object without members
	List    Kind = "list"   // of Elem
	Map     Kind = "map"    // an object with any names, and values of Elem
)

// Ref is the type of a value.
type Ref struct {
	Kind     Kind
	Name     string
	Elem     *Ref
	Nullable bool
}

// reader builds a Contract.
type reader struct {
	src      *source
	out      *Contract
	known    map[reflect.Type]bool
	problems []error
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// Read returns the contract. src contains the source of package local. The error
// lists everything without a description, and every description that names
// something that does not exist.
func Read(src fs.FS) (*Contract, error) {
	s, err := parse(src)
	if err != nil {
		return nil, err
	}
	r := &reader{src: s, out: &Contract{}, known: map[reflect.Type]bool{}}
	r.methods()
	r.notifications()
	r.events()
	r.codes()
	r.enums()
	r.numbers()
	return r.out, errors.Join(r.problems...)
}

func (r *reader) methods() {
	for _, m := range local.Methods() {
		c, ok := r.src.named("Method", m.Name)
		if !ok {
			r.problem("method %s has no constant", m.Name)
			continue
		}
		doc, cases := cutErrors(c.doc)
		out := Method{Name: m.Name, Doc: r.text(doc, c.name, nil), Params: r.members(m.Params), Result: r.ref(m.Result)}
		if out.Doc == "" {
			r.problem("method %s (%s) has no description", m.Name, c.name)
		}
		for _, e := range cases {
			e.When = r.references(e.When, nil)
			if _, ok := r.src.named("Code", e.Code); !ok && e.Code != "server" && !strings.HasPrefix(e.Code, "as of ") {
				r.problem("method %s: %q is no error code", m.Name, e.Code)
			}
			out.Errors = append(out.Errors, e)
		}
		out.About = r.aboutParams(m.Params)
		r.out.Methods = append(r.out.Methods, out)
	}
	if n := len(r.src.prefixed("Method")); n != len(r.out.Methods) {
		r.problem("%d constants Method*, but %d methods", n, len(r.out.Methods))
	}
}

// cutErrors splits off the last paragraph of a method's description, "Errors: code: when; ...".
func cutErrors(doc string) (string, []ErrorCase) {
	text, list, ok := strings.Cut(doc, "\n\nErrors: ")
	if !ok {
		return doc, nil
	}
	var out []ErrorCase
	for item := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(list), "."), ";") {
		code, when, _ := strings.Cut(strings.TrimSpace(item), ":")
		out = append(out, ErrorCase{strings.Join(strings.Fields(code), " "), strings.TrimSpace(when)})
	}
	return text, out
}

func (r *reader) notifications() {
	for _, n := range local.Notifications() {
		c, ok := r.src.named("Notify", n.Name)
		if !ok {
			r.problem("notification %s has no constant", n.Name)
			continue
		}
		out := Notification{n.Name, r.text(c.doc, c.name, nil), r.ref(n.Params), n.FromDaemon, n.FromCaller}
		if out.Doc == "" {
			r.problem("notification %s (%s) has no description", n.Name, c.name)
		}
		r.out.Notifications = append(r.out.Notifications, out)
	}
	if n := len(r.src.prefixed("Notify")); n != len(r.out.Notifications) {
		r.problem("%d constants Notify*, but %d notifications", n, len(r.out.Notifications))
	}
}

// events adds the types of events. Each has a member in Event.
func (r *reader) events() {
	bodies := map[string]reflect.Type{}
	t := reflect.TypeFor[local.Event]()
	for i := range t.NumField() {
		if f := t.Field(i); f.Type.Kind() == reflect.Pointer {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			bodies[name] = f.Type.Elem()
		}
	}
	for _, c := range r.src.prefixed("Type") {
		body, ok := bodies[c.value]
		if !ok {
			r.problem("event type %s has no member in Event", c.value)
			continue
		}
		doc := r.text(c.doc, c.name, nil)
		if doc == "" {
			r.problem("event type %s (%s) has no description", c.value, c.name)
		}
		r.out.Events = append(r.out.Events, Event{c.value, doc, r.ref(body)})
		delete(bodies, c.value)
	}
	for name := range bodies {
		r.problem("member %s of Event has no constant Type*", name)
	}
}

// codes adds the error codes, whose comments begin with their exit codes, and the causes.
func (r *reader) codes() {
	for _, c := range r.src.prefixed("Code") {
		number, doc, _ := strings.Cut(c.doc, ":")
		exit, err := strconv.Atoi(number)
		doc = r.text(strings.TrimSpace(doc), "", nil)
		if err != nil || doc == "" {
			r.problem("error code %s (%s) has no exit code or no description", c.value, c.name)
		}
		r.out.Codes = append(r.out.Codes, Code{Value{c.value, doc}, exit})
	}
	for _, c := range r.src.prefixed("Cause") {
		r.out.Causes = append(r.out.Causes, r.value(c))
	}
}

func (r *reader) value(c constant) Value {
	v := Value{c.value, r.text(c.doc, c.name, nil)}
	if v.Doc == "" {
		r.problem("value %q (%s) has no description", c.value, c.name)
	}
	return v
}

// enumerations names the first constant of each set of strings.
func enumerations() []string {
	return []string{
		"StateQueued", "TrustUnknown", "DirectionIn", "ChangeKey", "FileOffered", "PhaseSending",
		"CallInitiating", "CallHangup", "StreamAudioIn", "ManagerUser",
	}
}

// elsewhere returns the string constants that are not values of the contract, or have a
// section of their own.
func elsewhere() []string {
	return []string{"Method", "Notify", "Type", "Code", "Cause", "Holder", "TransientPrefix", "rpcVersion"}
}

func (r *reader) enums() {
	placed := map[string]bool{}
	for _, first := range enumerations() {
		group := r.src.group(first)
		if len(group) == 0 {
			r.problem("there is no set of values that begins with %s", first)
			continue
		}
		e := Enum{Title: r.text(group[0].group, "", nil)}
		for _, c := range group {
			placed[c.name] = true
			e.Values = append(e.Values, r.value(c))
		}
		r.out.Enums = append(r.out.Enums, e)
	}
	for _, c := range r.src.constants {
		known := placed[c.name] || !c.text
		for _, prefix := range elsewhere() {
			known = known || strings.HasPrefix(c.name, prefix)
		}
		if !known {
			r.problem("the string constant %s is in no set of values", c.name)
		}
	}
}

func (r *reader) numbers() {
	for _, name := range []string{"RPCParse", "MaxRequest", "MaxFileData", "MaxCallData"} {
		group := r.src.group(name)
		if len(group) == 0 {
			r.problem("there is no constant %s", name)
		}
		for _, c := range group {
			n := Number{c.name, c.number, r.text(c.doc, c.name, nil)}
			if n.Doc == "" {
				r.problem("%s has no description", c.name)
			}
			r.out.Numbers = append(r.out.Numbers, n)
		}
	}
}
