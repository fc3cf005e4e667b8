package localapi

import (
	"bytes"
	"encoding/json"
	"time"

	"secmsg/rpc/local"
)

// notification is a message of the daemon that is not an answer.
type notification struct {
	Version string `json:"jsonrpc"`
	Method  string `json:"method"`
	Params  any    `json:"params"`
}

// answer sends the result of a request. A notification gets no answer.
func (c *conn) answer(id json.RawMessage, result any) {
	if len(id) == 0 {
		return
	}
	raw, err := json.Marshal(result)
	if err != nil {
		c.s.logger.Error("encode answer", "error", err)
		c.fail(id, local.RPCFailed, local.As(err))
		return
	}
	c.end(id)
	c.respond(local.Response{ID: id, Result: raw})
}

// fail answers with an error. Without an id it sends the id null, as JSON-RPC requires for
// a request whose id could not be read.
func (c *conn) fail(id json.RawMessage, code int, e *local.Error) {
	if len(id) == 0 {
		id = json.RawMessage("null")
	} else {
		c.end(id)
	}
	c.respond(local.Response{ID: id, Error: local.NewRPCError(code, e)})
}

func (c *conn) respond(r local.Response) {
	r.Version = "2.0"
	if err := c.writeLine(r, time.Now().Add(answerTimeout)); err != nil {
		_ = c.c.Close() // the reader notices
	}
}

// writeLine writes v as one line. Without a deadline it blocks while the caller does not
// read; this is how a subscriber slows its stream down.
func (c *conn) writeLine(v any, deadline time.Time) error {
	var line bytes.Buffer
	if err := encodeLine(&line, v); err != nil {
		return err
	}
	return c.writeLines(line.Bytes(), deadline)
}

// encodeLine appends v as one line.
func encodeLine(to *bytes.Buffer, v any) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeLines writes whole lines.
func (c *conn) writeLines(b []byte, deadline time.Time) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := c.c.Write(b)
	return err
}
