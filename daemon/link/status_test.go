package link

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"secmsg/rpc/wire"
)

// If a store, or a proxy in front of the server, rejects a part, that is final for the part
// and the error says why.
func TestStatusOfAProxy(t *testing.T) {
	page := "<html><h1>413 Request Entity Too Large</h1></html>"
	for _, own := range []bool{true, false} {
		resp := &http.Response{StatusCode: http.StatusRequestEntityTooLarge, Body: io.NopCloser(strings.NewReader(page))}
		err := storeError(t.Context(), resp, own)
		if wire.CodeOf(err) != wire.CodeTooLarge || !strings.Contains(err.Error(), "413") {
			t.Errorf("own %t: %v", own, err)
		}
		resp = &http.Response{StatusCode: http.StatusMethodNotAllowed, Body: io.NopCloser(strings.NewReader(page))}
		if err := storeError(t.Context(), resp, own); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "405") {
			t.Errorf("own %t: %v", own, err)
		}
		resp = &http.Response{StatusCode: http.StatusRequestTimeout, Body: io.NopCloser(strings.NewReader(page))}
		if err := storeError(t.Context(), resp, own); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "408") {
			t.Errorf("own %t: %v", own, err)
		}
		resp = &http.Response{StatusCode: http.StatusBadGateway, Body: io.NopCloser(strings.NewReader(page))}
		if err := storeError(t.Context(), resp, own); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "502") {
			t.Errorf("own %t: %v", own, err)
		}
	}
}
