package key

import (
	"fmt"
	"io"
	"log/slog"
)

// redactedText is the printed form of every secret.
const redactedText = "(redacted)"

// Redacted is embedded in every type that contains a secret. It makes the type incomparable, because ==
// on secrets is not constant time, and prints "(redacted)" for every fmt verb and in log/slog.
//
// fmt does not call methods of values in unexported fields of other structs, so the secret itself must
// be [Hidden].
type Redacted struct{ _ [0]func() }

// Format writes "(redacted)" for every verb and flag.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue returns "(redacted)".
func (Redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// Hidden refers to a secret where fmt cannot follow. One pointer is not enough: for a verb that does
// not fit the type, fmt prints the target of a pointer in an unexported field, as in "%!s(*T=&{...})".
// It never follows two pointers.
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

// Drop ends the reference for all copies of h. The caller must have overwritten the secret as far as
// possible. Drop must not run concurrently with another use of h.
func (h Hidden[T]) Drop() {
	if h.p != nil {
		*h.p = nil
	}
}
