package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"secmsg/rpc/wire"
)

// ErrTicket says that a ticket has expired or is invalid: request a new one. A caller that
// repeatedly gets it for fresh tickets should give up.
var ErrTicket = errors.New("the ticket has expired")

const (
	// dataBuffer is the buffer size of a connection that transfers parts, in bytes: room
	// for several TLS records of 16 KiB.
	dataBuffer = 64 << 10
	// dataConns is the number of such connections kept open between parts.
	dataConns = 16
	// dataStep is the minimum progress within Timing.Request, in bytes: a part may take
	// long on a slow line, but must not stall.
	dataStep = 64 << 10
	// answerTimes bounds the wait for the answer after a part has been sent, in multiples
	// of Timing.Request. A proxy or the kernel may have accepted the part much faster than
	// a server with limited bandwidth: at 128 KiB/s, which a busy server may give a
	// transfer, a part of 8 MiB takes a minute.
	answerTimes = 4
	// maxStoreError bounds the body that is read from a store's answer, in bytes.
	maxStoreError = 16 << 10
	// maxETag bounds the ETag of a stored part, in bytes.
	maxETag = 256
	// maxTicketURL bounds a ticket's URL in bytes; those of S3 have about 600.
	maxTicketURL = 4 << 10
)

// PutPart uploads one part of size bytes to its ticket's URL and returns the store's ETag,
// for [Client.CompleteBlob]. It fails with [ErrTicket], [ErrUnreachable] (try again), or a
// *wire.Error: not_found if the upload is gone, conflict if the blob is complete,
// unavailable if the store is full. PutPart does not close content, and does not read it
// after it has returned.
func (c *Client) PutPart(ctx context.Context, t wire.BlobTicket, size int64, content io.ReaderAt) (etag string, err error) {
	if size <= 0 || size > wire.BlobPartSize {
		return "", fmt.Errorf("put part of %d bytes: %w", size, ErrTooLarge)
	}
	w, ctx := c.watch(ctx)
	defer w.stop()
	body := func() io.ReadCloser { return w.reader(io.NewSectionReader(content, 0, size)) }
	defer w.end()
	resp, own, err := c.transfer(ctx, http.MethodPut, t, func(r *http.Request) {
		// With GetBody the transport can repeat a request on a connection that the server
		// closed just then.
		r.Body, r.ContentLength = body(), size
		r.GetBody = func() (io.ReadCloser, error) { return body(), nil }
	})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("put part %d: %w", t.Number, storeError(ctx, resp, own))
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxStoreError)); err != nil {
		return "", unreachable(ctx, "put part", err)
	}
	etag = strings.Trim(resp.Header.Get("ETag"), `"`)
	if etag == "" || len(etag) > maxETag {
		return "", fmt.Errorf("put part %d: %w: no ETag", t.Number, ErrProtocol)
	}
	return etag, nil
}

// GetRange fetches len(dst) bytes of a blob, starting at offset, into dst. It returns the
// number of bytes received, also with an error. It fails with [ErrTicket] or
// [ErrUnreachable] (continue after the received bytes), a *wire.Error of code not_found, or
// [ErrProtocol] if the blob has no such range.
func (c *Client) GetRange(ctx context.Context, t wire.BlobTicket, offset int64, dst []byte) (int, error) {
	if offset < 0 || len(dst) == 0 {
		return 0, fmt.Errorf("get %d bytes at %d: %w", len(dst), offset, ErrTooLarge)
	}
	w, ctx := c.watch(ctx)
	defer w.stop()
	last := offset + int64(len(dst)) - 1
	resp, own, err := c.transfer(ctx, http.MethodGet, t, func(r *http.Request) {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, last))
	})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		first, end, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || first != offset {
			return 0, fmt.Errorf("get range: %w: wrong range", ErrProtocol)
		}
		if end != last || t.Size != 0 && total >= 0 && total != t.Size {
			return 0, fmt.Errorf("get range: %w: it ends at %d of %d", ErrBlobSize, end, total)
		}
	case http.StatusOK:
		// The whole blob, from a store without support for ranges.
		if offset != 0 || resp.ContentLength != int64(len(dst)) || t.Size != 0 && t.Size != resp.ContentLength {
			return 0, fmt.Errorf("get range: %w: no range", ErrProtocol)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, fmt.Errorf("get range: %w: it ends before %d", ErrBlobSize, offset)
	default:
		return 0, fmt.Errorf("get range: %w", storeError(ctx, resp, own))
	}
	got, err := io.ReadFull(w.reader(resp.Body), dst)
	if err != nil {
		return got, unreachable(ctx, "get range", err)
	}
	// Reading to the end allows the connection to be reused.
	if n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1)); err != nil || n != 0 {
		return 0, fmt.Errorf("get range: %w: more bytes than requested", ErrProtocol)
	}
	return len(dst), nil
}

// transfer sends a request to a ticket's URL. If that is on the own server, it uses a
// connection on which the server has proved its realm. Any other host gets neither a token
// nor cookies, and redirects are not followed.
func (c *Client) transfer(ctx context.Context, method string, t wire.BlobTicket, fill func(*http.Request)) (resp *http.Response, own bool, err error) {
	target, own, err := c.ticketURL(t.URL)
	if err != nil {
		return nil, false, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, false, fmt.Errorf("ticket: %w: not a URL", ErrProtocol)
	}
	client := c.store
	if own {
		client, req.Header = c.data, c.header("")
		if method == http.MethodPut {
			// The server may refuse a request by closing the connection. Asked first, it
			// sends an answer that can be read. A store may not support this.
			req.Header.Set("Expect", "100-continue")
		}
	}
	req.Header.Set("User-Agent", "") // suppress the default
	fill(req)
	if resp, err = client.Do(req); err != nil {
		// The URL contains the ticket's signature, so keep it out of the error.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, own, at(hostPortOf(req.URL), unreachable(ctx, strings.ToLower(method)+" part", err))
	}
	return resp, own, nil
}

// hostPortOf returns the HOST:PORT of a URL.
func hostPortOf(u *url.URL) string {
	port := u.Port()
	if port == "" && u.Scheme == "https" {
		port = "443"
	} else if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// ticketURL returns the target of a ticket, and whether that is the own server. A store
// must use https. Plain http is allowed only if both server and store are on this machine:
// a remote server must not make this client access local services.
func (c *Client) ticketURL(text string) (target string, own bool, err error) {
	if len(text) > maxTicketURL {
		return "", false, fmt.Errorf("ticket: %w: URL too long", ErrProtocol)
	}
	if strings.HasPrefix(text, wire.PathBlobData) {
		return c.base + text, true, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", false, fmt.Errorf("ticket: %w: not a URL", ErrProtocol)
	}
	_, host := c.endpoint.address()
	if u.Scheme == "https" || u.Scheme == "http" && loopback(host) && loopback(u.Hostname()) {
		return text, false, nil
	}
	return "", false, fmt.Errorf("ticket: %w: a store must be reached over https", ErrProtocol)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// contentRange parses "bytes FIRST-LAST/TOTAL" (RFC 9110, section 14.4). An unknown total
// is -1.
func contentRange(text string) (first, last, total int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	span, whole, ok2 := strings.Cut(text, "/")
	a, b, ok3 := strings.Cut(span, "-")
	first, err := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	total, err3 := strconv.ParseInt(whole, 10, 64)
	if whole == "*" {
		total, err3 = -1, nil
	}
	return first, last, total, ok && ok2 && ok3 && err == nil && err2 == nil && err3 == nil
}

// storeError translates a failed answer of the server or a store.
func storeError(ctx context.Context, resp *http.Response, own bool) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStoreError))
	if err != nil {
		return unreachable(ctx, "read answer", err)
	}
	if own {
		err := errorOf(resp.StatusCode, body)
		if wire.CodeOf(err) == wire.CodeTicket {
			return fmt.Errorf("%w: %w", ErrTicket, err)
		}
		return err
	}
	// Stores answer with XML, in which only the status is standardized.
	switch status := resp.StatusCode; {
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fmt.Errorf("%w: the store refused it", ErrTicket)
	case status == http.StatusNotFound:
		return &wire.Error{Code: wire.CodeNotFound, Message: "the store has no such blob"}
	case status == http.StatusRequestEntityTooLarge:
		return &wire.Error{Code: wire.CodeTooLarge, Message: "the store, or a proxy in front of it, does not accept a part of this size (413)"}
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= http.StatusInternalServerError,
		status == http.StatusBadRequest && strings.Contains(string(body), "RequestTimeout"):
		return fmt.Errorf("%w: the store answered %d", ErrUnreachable, status)
	default:
		return fmt.Errorf("%w: the store answered %d", ErrProtocol, status)
	}
}

// watch returns a context that ends when a transfer has not progressed for Timing.Request,
// or for answerTimes as long after the end of the content.
func (c *Client) watch(ctx context.Context) (*watchdog, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{cancel: cancel, within: c.timing.Request}
	w.timer = time.AfterFunc(w.within, func() {
		cancel(fmt.Errorf("%w: nothing moved for %s", ErrUnreachable, w.within))
	})
	return w, ctx
}

// watchdog ends a stalled transfer.
type watchdog struct {
	cancel context.CancelCauseFunc
	within time.Duration
	timer  *time.Timer

	mu    sync.Mutex // held during a read
	moved int64      // bytes since the timer was set; guarded by mu
	ended bool       // guarded by mu
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// end waits for a running read and prevents further ones: the transport may continue to
// read a body after its request has been answered.
func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

func (w *watchdog) reader(r io.Reader) io.ReadCloser { return &watchedReader{r, w} }

// watchedReader reports what is read to the watchdog.
type watchedReader struct {
	r io.Reader
	w *watchdog
}

// Read implements io.Reader, and resets the watchdog after each dataStep.
func (r *watchedReader) Read(p []byte) (int, error) {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return 0, net.ErrClosed
	}
	n, err := r.r.Read(p)
	if w.moved += int64(n); w.moved >= dataStep || err != nil {
		w.moved = 0
		within := w.within
		if err == io.EOF {
			within *= answerTimes
		}
		w.timer.Reset(within)
	}
	return n, err
}

// Close does nothing: the underlying reader belongs to the caller.
func (*watchedReader) Close() error { return nil }
