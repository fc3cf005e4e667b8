package e2e

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"secmsg/rpc/bound"
)

// Bounds of a content.
const (
	// MaxText bounds a text in bytes; a longer text is sent as a file.
	MaxText = 64 << 10
	// MaxContent bounds an encoded content: a text with its fields and files. With padding, chain and
	// manifest it fits into an envelope (wire.MaxCiphertext). A sender leaves out thumbnails that would
	// not fit.
	MaxContent = MaxText + 14<<10
	// MaxIDs bounds the message ids in one receipt or retry.
	MaxIDs = 100
	// maxFields bounds the fields of a content: ids, or files with twelve fields each, plus the
	// surrounding fields.
	maxFields = MaxFiles*12 + 32
	// IDSize is the length of a message id (UUIDv7) in bytes.
	IDSize = 16
	// MaxTime is the latest time in a content: the end of the year 9999, the last year that RFC 3339
	// can represent, in Unix milliseconds.
	MaxTime = 253_402_300_799_999
	// MaxN bounds the counter of durable contents: the largest integer that every JSON reader
	// represents exactly (RFC 8259, section 6). No sender reaches it.
	MaxN = 1<<53 - 1
)

var (
	// ErrUnknownKind means that this version does not know the kind of a content. Such a content is
	// counted and acknowledged, never shown.
	ErrUnknownKind = errors.New("unknown content kind")
	// ErrMalformed means that a content violates a rule of its kind.
	ErrMalformed = errors.New("malformed content")
)

// Marshal checks c as Unmarshal would, and encodes it.
func Marshal(c *Content) ([]byte, error) {
	if err := check(c); err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	if len(b) > MaxContent {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	return b, nil
}

// Unmarshal decodes and checks a content. It returns ErrUnknownKind or ErrMalformed. It checks the size
// before it allocates anything.
func Unmarshal(b []byte) (*Content, error) {
	c := new(Content)
	if err := bound.Unmarshal(b, c, MaxContent, maxFields); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if err := check(c); err != nil {
		return nil, err
	}
	return c, nil
}

// Durable reports whether contents of kind k are numbered by n. All other kinds are control content;
// except for call signals, the relay stores them just the same.
func Durable(k Kind) bool {
	return k == Kind_KIND_TEXT || k == Kind_KIND_REQUEST || k == Kind_KIND_FILE
}

// validTime reports whether ms is a valid time of a content, or 0 for none.
func validTime(ms int64) bool { return ms >= 0 && ms <= MaxTime }

// SentTime returns the SentMs for a clock at ms. It returns 0 for a clock outside the valid range.
func SentTime(ms int64) int64 {
	if !validTime(ms) {
		return 0
	}
	return ms
}

// check checks the rules of each kind: its body and its bounds.
func check(c *Content) error {
	switch c.GetKind() {
	case Kind_KIND_TEXT:
		t := c.GetText()
		if t == nil {
			return fmt.Errorf("%w: text without body", ErrMalformed)
		}
		if err := checkText(t); err != nil {
			return err
		}
	case Kind_KIND_RECEIPT:
		r := c.GetReceipt()
		if r == nil {
			return fmt.Errorf("%w: receipt without body", ErrMalformed)
		}
		if err := checkReceipt(r); err != nil {
			return err
		}
	case Kind_KIND_RETRY:
		r := c.GetRetry()
		if r == nil {
			return fmt.Errorf("%w: retry without body", ErrMalformed)
		}
		if err := checkIDs(r.GetMessageIds()); err != nil {
			return err
		}
	case Kind_KIND_SYNC:
		if err := checkSync(c.GetSync()); err != nil {
			return err
		}
	case Kind_KIND_SESSION:
		if c.GetSession() == nil {
			return fmt.Errorf("%w: session without body", ErrMalformed)
		}
	case Kind_KIND_REQUEST:
		if c.GetRequest() == nil {
			return fmt.Errorf("%w: request without body", ErrMalformed)
		}
	case Kind_KIND_FILE:
		f := c.GetFile()
		if f == nil {
			return fmt.Errorf("%w: file without body", ErrMalformed)
		}
		if err := checkFile(f, false); err != nil {
			return err
		}
	case Kind_KIND_CALL:
		if err := checkCall(c.GetCall()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: %d", ErrUnknownKind, c.GetKind())
	}
	if !validTime(c.GetSentMs()) {
		return fmt.Errorf("%w: time %d", ErrMalformed, c.GetSentMs())
	}
	if c.GetN() > MaxN || Durable(c.GetKind()) != (c.GetN() > 0) {
		return fmt.Errorf("%w: counter %d for kind %d", ErrMalformed, c.GetN(), c.GetKind())
	}
	return nil
}

func checkText(t *Text) error {
	if len(t.GetText()) == 0 && len(t.GetFiles()) == 0 || len(t.GetText()) > MaxText || !utf8.ValidString(t.GetText()) {
		return fmt.Errorf("%w: text of %d bytes", ErrMalformed, len(t.GetText()))
	}
	if n := len(t.GetReplyTo()); n != 0 && n != IDSize {
		return fmt.Errorf("%w: reply id of %d bytes", ErrMalformed, n)
	}
	return checkFiles(t.GetFiles())
}

func checkReceipt(r *Receipt) error {
	switch s := r.GetState(); s {
	case ReceiptState_RECEIPT_STATE_DELIVERED, ReceiptState_RECEIPT_STATE_READ, ReceiptState_RECEIPT_STATE_DECLINED:
	default:
		return fmt.Errorf("%w: receipt state %d", ErrMalformed, s)
	}
	return checkIDs(r.GetMessageIds())
}

func checkSync(s *Sync) error {
	if s == nil {
		return fmt.Errorf("%w: sync without body", ErrMalformed)
	}
	if len(s.GetPeer()) == 0 || len(s.GetPeer()) > 320 {
		return fmt.Errorf("%w: sync peer", ErrMalformed)
	}
	switch {
	case s.GetSent() != nil:
		if len(s.GetMessageId()) != IDSize {
			return fmt.Errorf("%w: sync id", ErrMalformed)
		}
		return checkText(s.GetSent())
	case s.GetRead() != nil:
		if s.GetRead().GetState() == ReceiptState_RECEIPT_STATE_DECLINED {
			return fmt.Errorf("%w: sync of declined files", ErrMalformed)
		}
		return checkReceipt(s.GetRead())
	case s.GetSentFile() != nil:
		if len(s.GetMessageId()) != IDSize {
			return fmt.Errorf("%w: sync id", ErrMalformed)
		}
		return checkFile(s.GetSentFile(), false)
	}
	return fmt.Errorf("%w: empty sync", ErrMalformed)
}

func checkIDs(ids [][]byte) error {
	if len(ids) == 0 || len(ids) > MaxIDs {
		return fmt.Errorf("%w: %d ids", ErrMalformed, len(ids))
	}
	seen := make(map[[IDSize]byte]bool, len(ids))
	for _, id := range ids {
		if len(id) != IDSize {
			return fmt.Errorf("%w: id of %d bytes", ErrMalformed, len(id))
		}
		if seen[[IDSize]byte(id)] {
			return fmt.Errorf("%w: duplicate id", ErrMalformed)
		}
		seen[[IDSize]byte(id)] = true
	}
	return nil
}
