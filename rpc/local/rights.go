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

// ReceiveDescriptor reads the line file.descriptor for a source from r, which reads from d, and returns
// the open file that came with it. The caller closes the file.
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

// DescriptorReader reads from a connection. It closes open files that arrive while none is expected, so
// that nobody can use up this process's descriptors. It belongs to one goroutine.
type DescriptorReader struct {
	c        *net.UnixConn
	expected bool
	file     *os.File
}

// NewDescriptorReader returns a DescriptorReader for c.
func NewDescriptorReader(c *net.UnixConn) *DescriptorReader { return &DescriptorReader{c: c} }

// Read implements io.Reader.
func (d *DescriptorReader) Read(b []byte) (int, error) {
	if !d.expected {
		return d.c.Read(b) // the system closes descriptors that arrive here
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
