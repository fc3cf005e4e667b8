package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Sections of the document that are generated from the contract.
const (
	SectionMethods       = "methods"
	SectionNotifications = "notifications"
	SectionEvents        = "events"
	SectionErrors        = "errors"
	SectionValues        = "values"
	SectionBounds        = "bounds"
	SectionTypes         = "types"
)

// Fill replaces the text between the marks of each section, "<!-- begin NAME -->"
// and "<!-- end NAME -->", in a document.
func (c *Contract) Fill(document string) (string, error) {
	for name, text := range map[string]string{
		SectionMethods: c.methodsText(), SectionNotifications: c.notificationsText(), SectionEvents: c.eventsText(),
		SectionErrors: c.errorsText(), SectionValues: c.valuesText(), SectionBounds: c.boundsText(), SectionTypes: c.typesText(),
	} {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		before, rest, ok := strings.Cut(document, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			return "", fmt.Errorf("the document has no marks for the section %s", name)
		}
		document = before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after
	}
	return document, nil
}

func (c *Contract) methodsText() string {
	var b strings.Builder
	noun := ""
	for _, m := range c.Methods {
		if n, _, _ := strings.Cut(m.Name, "."); n != noun {
			noun = n
			fmt.Fprintf(&b, "### %s\n\n", upper(noun))
		}
		fmt.Fprintf(&b, "#### %s\n\n%s\n\n", m.Name, m.Doc)
		switch {
		case len(m.Params) > 0:
			if m.About != "" {
				b.WriteString(m.About + "\n\n")
			}
			b.WriteString("| Parameter | Type | | |\n|---|---|---|---|\n")
			for _, p := range m.Params {
				needed := "needed"
				if p.Optional {
					needed = ""
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Name, p.Type.text(), needed, cell(p.Doc))
			}
			b.WriteString("\n")
		default:
			b.WriteString("No parameters.\n\n")
		}
		if m.Result.Kind == Object && m.Result.Name == "" {
			b.WriteString("Result: an object without members.\n\n")
		} else {
			fmt.Fprintf(&b, "Result: %s.\n\n", m.Result.text())
		}
		if len(m.Errors) > 0 {
			b.WriteString("Errors:\n\n")
			for _, e := range m.Errors {
				name := "`" + e.Code + "`"
				if e.Code == "server" {
					name = "those of a question to the [server](#errors)"
				} else if method, ok := strings.CutPrefix(e.Code, "as of "); ok {
					name = fmt.Sprintf("those of [%s](#%s)", method, anchor(method))
				}
				b.WriteString("- " + name)
				if e.When != "" {
					b.WriteString(": " + e.When)
				}
				b.WriteString("\n")
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func (c *Contract) notificationsText() string {
	var b strings.Builder
	b.WriteString("| Notification | Sent by | Parameters | |\n|---|---|---|---|\n")
	for _, n := range c.Notifications {
		by := "daemon"
		switch {
		case n.FromDaemon && n.FromCaller:
			by = "both"
		case n.FromCaller:
			by = "caller"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", n.Name, by, n.Params.text(), cell(n.Doc))
	}
	return b.String()
}

func (c *Contract) eventsText() string {
	var b strings.Builder
	b.WriteString("| Type | Details | |\n|---|---|---|\n")
	for _, e := range c.Events {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.Name, e.Body.text(), cell(e.Doc))
	}
	return b.String()
}

func (c *Contract) errorsText() string {
	var b strings.Builder
	b.WriteString("| Code | Exit code | |\n|---|---|---|\n")
	for _, v := range c.Codes {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", v.Name, v.Exit, cell(v.Doc))
	}
	b.WriteString("\n| Cause | |\n|---|---|\n")
	for _, v := range c.Causes {
		fmt.Fprintf(&b, "| `%s` | %s |\n", v.Name, cell(v.Doc))
	}
	b.WriteString("\n| JSON-RPC number | |\n|---|---|\n")
	for _, n := range c.Numbers {
		if strings.HasPrefix(n.Name, "RPC") {
			fmt.Fprintf(&b, "| %d | %s |\n", n.Value, cell(n.Doc))
		}
	}
	return b.String()
}

func (c *Contract) valuesText() string {
	var b strings.Builder
	for _, e := range c.Enums {
		fmt.Fprintf(&b, "%s\n\n| Value | |\n|---|---|\n", e.Title)
		for _, v := range e.Values {
			fmt.Fprintf(&b, "| `%s` | %s |\n", v.Name, cell(v.Doc))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (c *Contract) boundsText() string {
	var b strings.Builder
	b.WriteString("| Bound | |\n|---|---|\n")
	for _, n := range c.Numbers {
		if !strings.HasPrefix(n.Name, "RPC") {
			fmt.Fprintf(&b, "| %s | %s |\n", grouped(n.Value), cell(n.Doc))
		}
	}
	return b.String()
}

func (c *Contract) typesText() string {
	var b strings.Builder
	for _, t := range c.Types {
		fmt.Fprintf(&b, "#### %s object\n\n", t.Name)
		if t.Doc != "" {
			b.WriteString(t.Doc + "\n\n")
		}
		b.WriteString("| Member | Type | | |\n|---|---|---|---|\n")
		for _, m := range t.Members {
			optional := ""
			if m.Optional {
				optional = "optional"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type.text(), optional, cell(m.Doc))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// text returns the name of a type in the document.
func (r Ref) text() string {
	out := string(r.Kind)
	switch r.Kind {
	case List:
		out = "list of " + r.Elem.text()
	case Map:
		out = "object of " + r.Elem.text()
	case Object:
		if r.Name == "" {
			return "-"
		}
		out = fmt.Sprintf("[%s](#%s-object)", r.Name, strings.ToLower(r.Name))
	}
	if r.Nullable && r.Kind != Time { // a time may always be null
		out += " or null"
	}
	return out
}

// cell formats a text as a table cell. It removes the period of a single sentence.
func cell(s string) string {
	if short := strings.TrimSuffix(s, "."); !strings.Contains(short, ". ") && !strings.Contains(short, "\n") {
		s = short
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n\n", " "), "|", "\\|")
}

// anchor returns the URL fragment of a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

// grouped formats a number with separators of thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
