//go:build unix

package local

import (
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// PassesDescriptors reports whether this system can pass open files over a socket.
const PassesDescriptors = true

// maxDescriptors is how many descriptors one message can carry (Linux: SCM_MAX_FD). With room for all
// of them, none is lost unnoticed.
const maxDescriptors = 253

// writeDescriptor writes a line with an open file (SCM_RIGHTS). The other end receives its own
// descriptor, with this process's access to the file.
func writeDescriptor(c *net.UnixConn, line []byte, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var werr error
	if err := raw.Control(func(fd uintptr) { n, _, werr = c.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil) }); err != nil {
		return err
	}
	if werr == nil && n < len(line) {
		_, werr = c.Write(line[n:])
	}
	return werr
}

// readDescriptors reads bytes and the open files that arrive with them.
func readDescriptors(c *net.UnixConn, b []byte) (int, []*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	n, oobn = max(n, 0), max(oobn, 0) // recvmsg's own results: -1 with an error
	var files []*os.File
	messages, parseErr := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // not SCM_RIGHTS
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	if errors.Is(err, io.EOF) {
		return n, files, io.EOF
	}
	return n, files, errors.Join(err, parseErr)
}
