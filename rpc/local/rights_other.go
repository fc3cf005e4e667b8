//go:build !unix

package local

import (
	"errors"
	"net"
	"os"
)

// PassesDescriptors reports whether this system can pass open files over a socket.
const PassesDescriptors = false

func writeDescriptor(*net.UnixConn, []byte, *os.File) error { return errors.ErrUnsupported }

func readDescriptors(c *net.UnixConn, b []byte) (int, []*os.File, error) {
	n, err := c.Read(b)
	return n, nil, err
}
