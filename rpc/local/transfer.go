package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// SendFiles seals and sends files on its own connection. input is the content of the source that is a
// stream, or nil if there is none. progress may be nil. When ctx ends or input fails, the connection
// closes, and the daemon cancels everything not yet sent. The goroutine that reads input ends with its
// current read: a read from a terminal cannot be interrupted.
func (c *Client) SendFiles(ctx context.Context, p FileSendParams, input io.Reader, progress func(FileProgress)) (SendResults, error) {
	var out SendResults
	t, err := c.transfer(ctx, progress)
	if err != nil {
		return out, err
	}
	defer t.close()
	p.Progress = progress != nil
	p.Sources = slices.Clone(p.Sources)
	for i := range p.Sources {
		src := &p.Sources[i]
		if src.Open == nil {
			continue
		}
		if PassesDescriptors {
			src.Descriptor = true
			t.sources = append(t.sources, openSource{i, src.Open})
			continue
		}
		if err := src.identify(); err != nil {
			return out, err
		}
	}
	if err := t.request(MethodFileSend, p); err != nil {
		return out, t.cause(ctx, err)
	}
	t.input = input
	t.start()
	err = t.answer(MethodFileSend, &out, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeNoDaemon && input != nil {
		err = Errorf(CodeIO, "the daemon ended while the stream was sent; nothing was sent")
		if t.fed.Load() {
			err = Errorf(CodeIO, "the daemon ended after the end of the stream, so the file may be sent anyway").WithHint("secmsg file list")
		}
	}
	return out, t.cause(ctx, err)
}

// identify records which file a source means, where the file itself cannot be passed.
func (s *FileSource) identify() error {
	f, err := s.Open()
	if err != nil {
		return err
	}
	s.Device, s.Inode, err = FileIdentity(f)
	return errors.Join(err, f.Close())
}

// openSource is a source that the daemon will ask for.
type openSource struct {
	place int
	open  func() (*os.File, error)
}

// start begins to send the stream, once the daemon has asked for all sources before it.
func (t *transfer) start() {
	if len(t.sources) == 0 && t.input != nil {
		go t.feed(t.input)
		t.input = nil
	}
}

// handOver answers the daemon's request for a source.
func (t *transfer) handOver(params json.RawMessage) error {
	var at FileOpen
	if err := json.Unmarshal(params, &at); err != nil || len(t.sources) == 0 || at.Source != t.sources[0].place {
		return Errorf(CodeInternal, "the daemon asked for the files in the wrong order")
	}
	f, err := t.sources[0].open()
	if err != nil {
		return err
	}
	defer f.Close()
	t.sources = t.sources[1:]
	raw, err := json.Marshal(at)
	if err != nil {
		return err
	}
	line, err := json.Marshal(Request{Version: rpcVersion, Method: NotifyFileDescriptor, Params: raw})
	if err != nil {
		return err
	}
	t.writeMu.Lock()
	err = writeDescriptor(t.conn, append(line, '\n'), f)
	t.writeMu.Unlock()
	if err != nil {
		return lostError(err)
	}
	t.start()
	return nil
}

// Finisher is an output with work to do after a whole file was written to it and verified, and before
// the daemon marks the file as fetched. Its error becomes the error of the fetch.
type Finisher interface{ Finish() error }

// GetFile fetches a file on its own connection. If p.Stream is set, output receives the content, which
// is valid only if GetFile returns nil. output may be a Finisher. progress may be nil.
func (c *Client) GetFile(ctx context.Context, p FileGetParams, output io.Writer, progress func(FileProgress)) (FileGot, error) {
	var out FileGot
	t, err := c.transfer(ctx, progress)
	if err != nil {
		return out, err
	}
	defer t.close()
	p.Progress = progress != nil
	if err := t.request(MethodFileGet, p); err != nil {
		return out, t.cause(ctx, err)
	}
	err = t.answer(MethodFileGet, &out, output)
	return out, t.cause(ctx, err)
}

// Files lists files, oldest first, each with its current state.
func (c *Client) Files(ctx context.Context, p FileListParams) (Events, error) {
	return call[Events](ctx, c, MethodFileList, p)
}

// ShowFile describes one file, with the thumbnail of a picture.
func (c *Client) ShowFile(ctx context.Context, p FileIDParams) (FileShown, error) {
	return call[FileShown](ctx, c, MethodFileShow, p)
}

// CancelFile withdraws an outgoing file: the server deletes it for all recipients, and messages that
// are not accepted yet are never sent. An incoming file is declined, and its sender is informed.
func (c *Client) CancelFile(ctx context.Context, p FileIDParams) (SendResult, error) {
	return call[SendResult](ctx, c, MethodFileCancel, p)
}

// FileQuota returns the usage and quota of the account's files on the server.
func (c *Client) FileQuota(ctx context.Context, account string) (FileQuota, error) {
	return call[FileQuota](ctx, c, MethodFileQuota, AccountParam{Account: account})
}

// CollectFiles removes leftovers of transfers.
func (c *Client) CollectFiles(ctx context.Context, account string) (FileGC, error) {
	return call[FileGC](ctx, c, MethodFileGC, AccountParam{Account: account})
}

// transferBuffer is the size of a transfer's buffers in bytes.
const transferBuffer = 64 << 10

// transfer is the client's end of a connection that carries one transfer.
type transfer struct {
	conn     *net.UnixConn
	r        *bufio.Reader
	progress func(FileProgress)
	stop     func() bool // stops watching the caller's context
	buf      []byte      // for bytes on their way to the caller

	// owned by answer
	sources []openSource // sources that the daemon has not asked for yet
	input   io.Reader    // the stream, until feed starts

	writeMu sync.Mutex
	fed     atomic.Bool // the end of the stream was sent, or is about to be

	mu    sync.Mutex
	fault error // why this end closed the connection; guarded by mu
}

func (c *Client) transfer(ctx context.Context, progress func(FileProgress)) (*transfer, error) {
	g, err := dial(ctx, c.target)
	if err != nil {
		return nil, err
	}
	t := &transfer{conn: g.conn, r: bufio.NewReaderSize(g.r, transferBuffer), progress: progress, buf: make([]byte, transferBuffer)}
	t.stop = context.AfterFunc(ctx, func() { _ = g.conn.Close() })
	return t, nil
}

func (t *transfer) close() {
	t.stop()
	_ = t.conn.Close()
}

// breakOff closes the connection because of a fault at this end.
func (t *transfer) breakOff(err error) {
	t.mu.Lock()
	if t.fault == nil {
		t.fault = err
	}
	t.mu.Unlock()
	_ = t.conn.Close()
}

// cause returns the error for the caller: its own context or fault takes precedence over the
// connection's error.
func (t *transfer) cause(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault != nil {
		return t.fault
	}
	return err
}

func (t *transfer) request(method string, params any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	return t.line(Request{Version: rpcVersion, ID: json.RawMessage("1"), Method: method, Params: raw}, nil)
}

// line writes a line followed by raw bytes.
func (t *transfer) line(r Request, raw []byte) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", r.Method, err)
	}
	if len(b) > MaxRequest {
		return Errorf(CodeUsage, "the request is longer than %d bytes", MaxRequest)
	}
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	bufs := net.Buffers{append(b, '\n'), raw}
	if _, err := bufs.WriteTo(t.conn); err != nil {
		return lostError(err)
	}
	return nil
}

// feed sends the caller's stream. If the stream fails, feed does not send its end, so nothing of it is
// sent to the peer.
func (t *transfer) feed(input io.Reader) {
	buf := make([]byte, MaxFileData)
	for {
		n, err := input.Read(buf)
		if n > 0 && t.data(buf[:n]) != nil {
			return // the answer, or the lack of one, carries the reason
		}
		switch {
		case errors.Is(err, io.EOF):
			t.fed.Store(true)
			_ = t.line(Request{Version: rpcVersion, Method: NotifyFileEnd}, nil)
			return
		case err != nil:
			t.breakOff(fmt.Errorf("read the stream: %w", err))
			return
		}
	}
}

func (t *transfer) data(b []byte) error {
	return t.line(Request{
		Version: rpcVersion, Method: NotifyFileData,
		Params: append(strconv.AppendInt([]byte(`{"length":`), int64(len(b)), 10), '}'),
	}, b)
}

// answer handles the daemon's lines until its answer.
func (t *transfer) answer(method string, result any, output io.Writer) error {
	for {
		f, err := readFrame(t.r)
		if err != nil {
			return lostError(err)
		}
		switch f.Method {
		case "":
			return f.decode(method, result)
		case NotifyFileProgress:
			var p FileProgress
			if err := json.Unmarshal(f.Params, &p); err == nil && t.progress != nil {
				t.progress(p)
			}
		case NotifyFileOpen:
			if err := t.handOver(f.Params); err != nil {
				t.breakOff(err)
				return err
			}
		case NotifyFileData:
			if err := t.take(f.Params, output); err != nil {
				t.breakOff(err)
				return err
			}
		case NotifyFileEnd:
			if done, ok := output.(Finisher); ok {
				if err := done.Finish(); err != nil {
					t.breakOff(err)
					return err
				}
			}
			// Everything is written, so the daemon may mark the file as fetched.
			if err := t.line(Request{Version: rpcVersion, Method: NotifyFileEnd}, nil); err != nil {
				return err
			}
		}
		// Ignore notifications that this version does not know.
	}
}

// take writes the raw bytes after a line to the caller.
func (t *transfer) take(params json.RawMessage, output io.Writer) error {
	var d FileData
	if err := json.Unmarshal(params, &d); err != nil || d.Length < 1 || d.Length > MaxFileData || output == nil {
		return Errorf(CodeInternal, "the daemon sent data that was not requested")
	}
	for left := d.Length; left > 0; {
		n, err := t.r.Read(t.buf[:min(left, len(t.buf))])
		left -= n
		if _, werr := output.Write(t.buf[:n]); werr != nil {
			return werr
		}
		if err != nil && left > 0 {
			return lostError(err)
		}
	}
	return nil
}
