package api_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"secmsg/serverd/api"
)

// A request whose connection stalled may be repeated: it is not reported as malformed, after which a
// client gives up.
func TestStalledBody(t *testing.T) {
	limits := wide()
	limits.Body = 50 * time.Millisecond
	r := newRealm(t, limits)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/challenges HTTP/1.1\r\nHost: "+domain+"\r\n"+api.ProtocolHeader+": 1\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(answer); !strings.HasPrefix(text, "HTTP/1.1 503 ") || !strings.Contains(text, `"code":"unavailable"`) {
		t.Errorf("%q", text)
	}
}
