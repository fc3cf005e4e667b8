// Package bound decodes protobuf messages from a peer within a budget: the
// length and the number of fields are checked against limits before anything
// is allocated, so that a small input can never become a large structure. It
// has no state and is safe for concurrent use.
package bound

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ErrLimit means that an input is longer or has more fields than its limits allow.
var ErrLimit = errors.New("input exceeds its limits")

// maxDepth bounds the nesting that is walked; our messages nest four deep.
const maxDepth = 8

// Unmarshal decodes b into m. It returns ErrLimit if b is longer than maxBytes, or if its known
// messages contain more than maxFields fields in total. Unknown fields are counted and dropped.
func Unmarshal(b []byte, m proto.Message, maxBytes, maxFields int) error {
	if len(b) > maxBytes {
		return fmt.Errorf("%w: %d bytes", ErrLimit, len(b))
	}
	budget := maxFields
	if err := walk(b, m.ProtoReflect().Descriptor(), &budget, maxDepth); err != nil {
		return err
	}
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
}

// walk counts the fields of an encoded message of type md, including nested messages.
func walk(b []byte, md protoreflect.MessageDescriptor, budget *int, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%w: nested too deep", ErrLimit)
	}
	for len(b) > 0 {
		if *budget--; *budget < 0 {
			return fmt.Errorf("%w: too many fields", ErrLimit)
		}
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if fd := md.Fields().ByNumber(num); fd != nil && fd.Message() != nil {
			if err := walk(v, fd.Message(), budget, depth-1); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}
