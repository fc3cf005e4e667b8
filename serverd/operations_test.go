package serverd

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"secmsg/rpc/wire"
)

// TestProxyTakesAPart checks that a proxy with the configuration in OPERATIONS.md accepts the largest
// part of a file, everywhere the text gives a size.
func TestProxyTakesAPart(t *testing.T) {
	text, err := os.ReadFile("OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`client_max_body_size (\d+)m`).FindAllSubmatch(text, -1)
	if len(all) == 0 {
		t.Fatal("OPERATIONS.md does not say how large bodies are")
	}
	for _, m := range all {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil || int64(n)<<20 < wire.BlobPartSize {
			t.Errorf("%s is less than a part, which has %d bytes", m[0], wire.BlobPartSize)
		}
	}
	if !regexp.MustCompile(`(?m)^ +proxy_request_buffering off;$`).Match(text) {
		t.Error("the block of nginx buffers whole parts on the proxy's disk")
	}
}
