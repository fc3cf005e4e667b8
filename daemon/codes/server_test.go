package codes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"secmsg/daemon/link"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// TestServer: code, cause and host of what the server or the way to it
// said cross the socket, and nothing of how this program is built.
func TestServer(t *testing.T) {
	const host = "chat.example.com:8443"
	at := func(cause link.Cause, err error) error {
		return fmt.Errorf("GET /v1/accounts/bob: %w", &link.HostError{Host: host, Cause: cause, Err: err})
	}
	for _, x := range []struct {
		err   error
		code  local.Code
		cause local.Cause
	}{
		{at(link.CauseDNS, link.ErrUnreachable), local.CodeUnreachable, local.CauseDNS},
		{at(link.CauseConnectRefused, link.ErrUnreachable), local.CodeUnreachable, local.CauseConnectRefused},
		{at(link.CauseConnectTimeout, link.ErrUnreachable), local.CodeUnreachable, local.CauseConnectTimeout},
		{at(link.CauseNoRoute, link.ErrUnreachable), local.CodeUnreachable, local.CauseNoRoute},
		{at(link.CauseTLS, link.ErrUnreachable), local.CodeUnreachable, local.CauseTLS},
		{at(link.CauseProxy, link.ErrUnreachable), local.CodeUnreachable, local.CauseProxy},
		{at(link.CauseNotSecmsg, link.ErrProtocol), local.CodeUnreachable, local.CauseNotSecmsg},
		{at(link.CauseCertificate, link.ErrUntrusted), local.CodeUntrusted, local.CauseCertificate},
		{at(link.CauseClock, fmt.Errorf("%w: %w", link.ErrUntrusted, &link.ClockError{Offset: time.Hour})), local.CodeUnreachable, local.CauseClock},
		{at(link.CauseVersion, &wire.Error{Code: wire.CodeVersion}), local.CodeUnreachable, local.CauseVersion},
		{at(link.CauseSuspended, &wire.Error{Code: wire.CodeSuspended}), local.CodeRefused, local.CauseSuspended},
		{at(link.CauseSuspended, &link.ByeError{Reason: wire.Reason_REASON_SUSPENDED}), local.CodeRefused, local.CauseSuspended},
		{at(link.CauseRevoked, &link.ByeError{Reason: wire.Reason_REASON_REVOKED}), local.CodeRefused, local.CauseRevoked},
		{at("", link.ErrUnreachable), local.CodeUnreachable, ""},
	} {
		e := Server(x.err)
		if e == nil || e.Code != x.code || e.Cause != x.cause || e.Host != host {
			t.Errorf("%v: %+v", x.err, e)
			continue
		}
		if !strings.Contains(e.Message, host) && x.cause != local.CauseRevoked {
			t.Errorf("%v: the message %q does not name the server", x.err, e.Message)
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(b); strings.Contains(text, "/v1/") || !strings.Contains(text, `"host":"`+host+`"`) {
			t.Errorf("%v: %s", x.err, text)
		}
	}
	for _, err := range []error{errors.New("anything"), context.DeadlineExceeded} {
		if e := Server(err); e != nil && e.Code != local.CodeInterrupted {
			t.Errorf("%v: %+v", err, e)
		}
	}
}
