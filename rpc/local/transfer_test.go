package local

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// The error for a daemon that ended during a stream is correct: before the stream's end nothing is
// sent; after it, the next daemon may continue.
func TestStreamWhoseDaemonEnds(t *testing.T) {
	for until, want := range map[string]string{"abc": "nothing was sent", NotifyFileEnd: "may be sent"} {
		path := serveOnce(t, func(c net.Conn) {
			got := make([]byte, 0, 4096)
			if _, err := c.Read(make([]byte, 4096)); err != nil {
				return
			}
			if _, err := io.WriteString(c, greeting); err != nil {
				return
			}
			for buf := make([]byte, 4096); !bytes.Contains(got, []byte(until)); {
				n, err := c.Read(buf)
				if got = append(got, buf[:n]...); err != nil {
					return
				}
			}
		})
		input, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, "abc")
			if until == NotifyFileEnd {
				_ = w.Close()
			}
		}()
		_, err := (&Client{target: at(path)}).SendFiles(t.Context(), FileSendParams{}, input, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeIO || !strings.Contains(e.Message, want) {
			t.Errorf("a daemon that ends after %q: %v", until, err)
		}
		_ = w.Close()
	}
}
