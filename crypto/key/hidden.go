package key

import (
	"fmt"
	"io"
	"log/slog"
)

// redactedText is what every secret prints as.
const redactedText = "(redacted)"

// Redacted is embedded in every type that holds a secret. It makes the type
// incomparable, because == on secrets is not constant time, and prints
// "(redacted)" for every fmt verb and for log/slog.
//
// fmt does not call methods of values in unexported fields of other structs:
// the secret itself has to be [Hidden].
type Redacted struct{ _ [0]func() }

// Format writes "(redacted)" whatever the verb and the flags are.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue returns "(redacted)".
func (Redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// Hidden refers to a secret where fmt cannot follow. One pointer is not enough:
// fmt prints what a pointer in an unexported field points to when the verb does
// not fit the type, as in "%!s(*T=&{...})". It never follows two.
//
// Copies refer to the same secret. The zero value refers to none.
type Hidden[T any] struct {
	_ [0]func()
	p **T
}

// Hide returns a reference to secret.
func Hide[T any](secret *T) Hidden[T] { return Hidden[T]{p: &secret} }

// Get returns the secret, or nil if there is none or it was dropped.
func (h Hidden[T]) Get() *T {
	if h.p == nil {
		return nil
	}
	return *h.p
}

// Drop ends the reference for all copies of h; the caller has overwritten what
// can be. It must not run beside another use of h.
func (h Hidden[T]) Drop() {
	if h.p != nil {
		*h.p = nil
	}
}
