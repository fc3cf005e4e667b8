package engine

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
)

// encodeDraft encodes a content whose counter and time are not known yet.
func encodeDraft(c *e2e.Content) ([]byte, error) {
	b, err := proto.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	return b, nil
}

// finish decodes a draft and sets its counter and time. A draft that is no valid
// content counts as a damaged value, which ends this message and no other.
func finish(o *store.Outgoing) ([]byte, error) {
	c := new(e2e.Content)
	if err := proto.Unmarshal(o.Body, c); err != nil {
		return nil, &store.ValueError{Table: "outbox", Column: "body", Err: fmt.Errorf("decode content: %w", err)}
	}
	c.N, c.SentMs = o.N, e2e.SentTime(o.SentMS)
	b, err := e2e.Marshal(c)
	if err != nil {
		return nil, &store.ValueError{Table: "outbox", Column: "body", Err: err}
	}
	return b, nil
}
