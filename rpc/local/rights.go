package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
)

// FileOpen names a source that is handed over.
type FileOpen struct {
	Source int `json:"source"` // index in sources, from 0
}

// ReceiveDescriptor reads the line file.descriptor for a source from r, which
// reads d, and returns the open file that came with it. The caller closes it.
func ReceiveDescriptor(r *bufio.Reader, d *DescriptorReader, source int) (*os.File, error) {
	d.expect(true)
	defer d.expect(false)
	line, err := ReadLine(r, MaxRequest)
	if err != nil {
		return nil, err
	}
	var req Request
	var at FileOpen
	if !CheckDepth(line, MaxDepth) || json.Unmarshal(line, &req) != nil || req.Method != NotifyFileDescriptor ||
		json.Unmarshal(req.Params, &at) != nil || at.Source != source {
		return nil, Errorf(CodeUsage, "file.descriptor for source %d is expected", source)
	}
	f := d.take()
	if f == nil {
		return nil, Errorf(CodeUsage, "no open file came with file.descriptor")
	}
	return f, nil
}

// DescriptorReader reads a connection. Open files that come with the bytes are
// dropped unless one is expected: nobody can fill this process with them. It is
// for one goroutine.
type DescriptorReader struct {
	c        *net.UnixConn
	expected bool
	file     *os.File
}

// NewDescriptorReader makes a DescriptorReader of c.
func NewDescriptorReader(c *net.UnixConn) *DescriptorReader { return &DescriptorReader{c: c} }

// Read implements io.Reader.
func (d *DescriptorReader) Read(b []byte) (int, error) {
	if !d.expected {
		return d.c.Read(b) // the system closes what comes with it
	}
	n, files, err := readDescriptors(d.c, b)
	for _, f := range files {
		if d.file == nil {
			d.file = f
			continue
		}
		err = errors.Join(err, f.Close())
	}
	return n, err
}

func (d *DescriptorReader) expect(yes bool) {
	d.expected = yes
	if f := d.take(); f != nil {
		_ = f.Close() // nobody took it
	}
}

func (d *DescriptorReader) take() *os.File {
	f := d.file
	d.file = nil
	return f
}
