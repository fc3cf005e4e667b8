package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"secmsg/rpc/wire"
)

// Cause is the reason for which a server could not be used, as far as it is known.
type Cause string

// The causes. Their names are those of the local RPC and of the command line.
const (
	CauseDNS            Cause = "dns"             // the name does not resolve
	CauseConnectRefused Cause = "connect_refused" // nobody listens on the port
	CauseConnectTimeout Cause = "connect_timeout" // no answer in time
	CauseNoRoute        Cause = "no_route"        // no way to the host from this machine's network
	CausePermission     Cause = "permission"      // this machine does not allow the connection
	CauseTLS            Cause = "tls"             // it speaks no TLS, or no TLS that is good enough
	CauseCertificate    Cause = "certificate"     // it did not prove to belong to the pinned realm
	CauseClock          Cause = "clock"           // the same, and this machine's clock may be the reason
	CauseProxy          Cause = "proxy"           // the proxy on the way does not let the connection through
	CauseNotSecmsg      Cause = "not_secmsg"      // another service answers there
	CauseVersion        Cause = "version"         // it speaks another version of the protocol
	CauseSuspended      Cause = "suspended"       // an administrator suspended the account
	CauseRevoked        Cause = "revoked"         // the device was removed from its account
)

// HostError is a failure to reach or to use a server. Every error that a
// [Client] or a [Link] got from the network or from its server has one in its chain.
type HostError struct {
	Host  string // HOST:PORT
	Cause Cause  // "" if it is none of those above
	Err   error
}

// Error names host and reason.
func (e *HostError) Error() string { return e.Host + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *HostError) Unwrap() error { return e.Err }

// ClockError marks a proof of the realm that failed while the two clocks disagree.
type ClockError struct {
	Offset time.Duration // this machine's clock minus the server's
}

// Error tells the difference.
func (e *ClockError) Error() string {
	word := "ahead of"
	if e.Offset < 0 {
		word = "behind"
	}
	return fmt.Sprintf("this machine's clock is %s %s the server's", e.Offset.Abs().Round(time.Second), word)
}

// at names the server in an error that does not name one yet. Errors of this
// process, a cancelled context for example, stay as they are.
func at(host string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*HostError](err); ok {
		return err
	}
	switch KindOf(err) {
	case KindCanceled, KindInternal:
		return err
	}
	return &HostError{Host: host, Cause: causeOf(err), Err: err}
}

// CauseOf returns why a server could not be used and which one it was; both are
// empty if that is not known.
func CauseOf(err error) (cause Cause, host string) {
	if e, ok := errors.AsType[*HostError](err); ok {
		return e.Cause, e.Host
	}
	return causeOf(err), ""
}

func causeOf(err error) Cause {
	if bye, ok := errors.AsType[*ByeError](err); ok {
		switch bye.Reason {
		case wire.Reason_REASON_SUSPENDED:
			return CauseSuspended
		case wire.Reason_REASON_REVOKED:
			return CauseRevoked
		}
		return ""
	}
	switch wire.CodeOf(err) {
	case wire.CodeSuspended:
		return CauseSuspended
	case wire.CodeRevoked:
		return CauseRevoked
	case wire.CodeVersion:
		return CauseVersion
	}
	if _, ok := errors.AsType[*proxyError](err); ok {
		return CauseProxy
	}
	if _, ok := errors.AsType[*ClockError](err); ok {
		return CauseClock
	}
	if errors.Is(err, ErrUntrusted) {
		return CauseCertificate
	}
	return networkCause(err)
}

// networkCause classifies what the network, or the TLS library, said.
func networkCause(err error) Cause {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return CauseDNS
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return CauseTLS
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return CauseTLS
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		switch errno {
		case syscall.ECONNREFUSED:
			return CauseConnectRefused
		case syscall.ETIMEDOUT:
			return CauseConnectTimeout
		case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT:
			return CauseNoRoute
		case syscall.EPERM, syscall.EACCES:
			return CausePermission
		}
	}
	return ""
}

// phase is how far a connection had come when it failed.
type phase int

const (
	phaseConnect phase = iota // TCP
	phaseTLS
	phaseRealm // the statement of the realm
)

// dialError names host and cause of a connection that could not be made. One
// that ran out of its own time is unreachable; one that the caller ended is not.
func dialError(ctx context.Context, hostPort string, p phase, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, ErrUntrusted) {
		if e, ok := errors.AsType[*proxyError](err); ok {
			return &HostError{Host: hostPort, Cause: CauseProxy, Err: fmt.Errorf("connect: %w", &proxyError{e.proxy, errNoAnswer})}
		}
		return &HostError{Host: hostPort, Cause: CauseConnectTimeout,
			Err: fmt.Errorf("connect: %w: no answer in time: %w", ErrUnreachable, noDeadline{err})}
	}
	err = unreachable(ctx, "connect", err)
	if ctx.Err() != nil {
		return err
	}
	cause := causeOf(err)
	if cause == "" {
		switch {
		case p == phaseTLS:
			cause = CauseTLS
		case p == phaseRealm && errors.Is(err, ErrProtocol):
			cause = CauseNotSecmsg
		}
	}
	return &HostError{Host: hostPort, Cause: cause, Err: err}
}

// noDeadline keeps the text of an error but not its type: who waited is the
// connection, not the caller.
type noDeadline struct{ err error }

func (e noDeadline) Error() string { return e.err.Error() }

// Reason is what went wrong in a few words that are safe to show and that name
// no type of this program; "" if nothing better is known than that it failed.
func Reason(err error) string {
	switch cause, _ := CauseOf(err); cause {
	case CauseDNS:
		if e, ok := errors.AsType[*net.DNSError](err); ok {
			return "the name " + e.Name + " does not resolve: " + e.Err
		}
		return "its name does not resolve"
	case CauseConnectRefused:
		return "connection refused"
	case CauseConnectTimeout:
		return "no answer in time"
	case CauseTLS:
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			return "it does not speak TLS"
		}
		if e, ok := errors.AsType[tls.AlertError](err); ok {
			return "it refuses the TLS handshake: " + strings.TrimPrefix(e.Error(), "tls: ")
		}
		return "the TLS handshake failed"
	case CauseClock:
		if e, ok := errors.AsType[*ClockError](err); ok {
			return e.Error()
		}
	case CauseProxy:
		if e, ok := errors.AsType[*proxyError](err); ok {
			inner := Reason(e.err)
			if a, ok := errors.AsType[proxyAnswer](e.err); ok {
				inner = string(a)
			}
			if inner != "" {
				return "the proxy " + e.proxy + ": " + inner
			}
			return "the proxy " + e.proxy + " does not let the connection through"
		}
	case CauseNotSecmsg:
		return "it is not a secmsg server"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if e, ok := errors.AsType[*statusErr](err); ok {
		return fmt.Sprintf("it answered with HTTP status %d", e.status)
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return "it answered: " + e.Message
	}
	if e, ok := errors.AsType[*ByeError](err); ok && e.Text != "" {
		return "it closed the connection: " + e.Text
	}
	switch {
	case errors.Is(err, ErrProtocol):
		return "its answer breaks the protocol"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection was closed"
	case errors.Is(err, errNoAnswer), isTimeout(err):
		return "no answer in time"
	}
	return ""
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
