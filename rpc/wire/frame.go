package wire

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"secmsg/rpc/bound"
)

// maxFields bounds the fields of one frame: the largest is a Send or Deliver of
// MaxBatch items with at most 16 fields each.
const maxFields = 16*MaxBatch + 64

// Frame is a message that is sent as one WebSocket message.
type Frame interface {
	proto.Message
	*ContactClient | *ContactServer | *ReplicaClient | *ReplicaServer
}

// Marshal encodes a frame. It returns an error if the frame exceeds MaxFrame: callers must split
// batches by size first.
func Marshal[F Frame](f F) ([]byte, error) {
	b, err := proto.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	if len(b) > MaxFrame {
		return nil, fmt.Errorf("encode frame: %d bytes exceed %d", len(b), MaxFrame)
	}
	return b, nil
}

// Unmarshal decodes a frame within the limits of the protocol. It bounds the number of items before it
// allocates any of them.
func Unmarshal[F Frame](b []byte, f F) error {
	if err := bound.Unmarshal(b, f, MaxFrame, maxFields); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}
