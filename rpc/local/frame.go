package local

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of the socket.
const (
	// MaxRequest bounds one line to the daemon in bytes. The largest request is a
	// text of 64 KiB with every byte escaped as \u00xx, with room for a few hundred
	// recipients.
	MaxRequest = 1 << 20
	// MaxResponse bounds one line from the daemon in bytes. The largest answer is a
	// list of ten thousand events. A reader's memory grows with what has arrived, never ahead of it.
	MaxResponse = 256 << 20
	// MaxDepth bounds the nesting of JSON in a request; the parameters need four levels.
	MaxDepth = 32
	// MaxValues bounds the values in one request, since the cost of parsing follows
	// their number; the lists that a person's command makes have a few hundred.
	MaxValues = 16 << 10
	// MaxID bounds the id of a request in bytes, as it is written.
	MaxID = 128
)

// rpcVersion is the value of the member "jsonrpc" (JSON-RPC 2.0, section 4).
const rpcVersion = "2.0"

// Numbers of errors (JSON-RPC 2.0, section 5.1). For every number, the error's data is an Error.
const (
	RPCParse          = -32700 // the line is not JSON
	RPCInvalidRequest = -32600 // it is JSON, but no acceptable request
	RPCNoMethod       = -32601 // the method is unknown
	RPCInvalidParams  = -32602 // the parameters are not those of the method
	RPCFailed         = -32000 // the request was understood and failed
)

// Request is a request, or a notification when ID is empty.
type Request struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// Response answers the request of the same ID; exactly one of Result and Error is set.
type Response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *RPCError       `json:"error,omitempty"`
}

// RPCError is an error object of JSON-RPC.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    *Error `json:"data,omitempty"`
}

// NewRPCError wraps e for the wire.
func NewRPCError(code int, e *Error) *RPCError {
	return &RPCError{Code: code, Message: e.Message, Data: e}
}

// frame is any line that a daemon writes: a response or a notification.
type frame struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *RPCError       `json:"error"`
}

// asError returns the error that the daemon reported.
func (e *RPCError) asError() *Error {
	if e.Data != nil && e.Data.Code != "" {
		return e.Data
	}
	if e.Code == RPCNoMethod {
		return Errorf(CodeUsage, "%s", e.Message).WithHint("the running daemon may have another version; restart it with: secmsg daemon stop")
	}
	return Errorf(CodeInternal, "the daemon answered: %s", e.Message)
}

// ErrLineTooLong means that a line exceeded its bound. The stream cannot continue after it.
var ErrLineTooLong = errors.New("line too long")

// ReadLine reads one line of at most limit bytes and returns it without its newline. It returns a last
// line without newline with a nil error; the end is io.EOF. The caller owns the slice. Memory grows
// only with the bytes received.
func ReadLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return nil, fmt.Errorf("%w: over %d bytes", ErrLineTooLong, limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		default:
			return nil, err
		}
	}
}

// CheckDepth reports whether the JSON text b is nested at most limit deep. It does not check that b is
// valid JSON.
func CheckDepth(b []byte, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}
