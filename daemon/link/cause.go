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

// Cause is the known reason why a server could not be used.
type Cause string

// Causes. The local RPC and the command line use the same names.
const (
	CauseDNS            Cause = "dns"             // the name does not resolve
	CauseConnectRefused Cause = "connect_refused" // no process listens on the port
	CauseConnectTimeout Cause = "connect_timeout" // no answer in time
	CauseNoRoute        Cause = "no_route"        // no route to the host
	CausePermission     Cause = "permission"      // this machine does not allow the connection
	CauseTLS            Cause = "tls"             // no TLS, or an unacceptable version
	CauseCertificate    Cause = "certificate"     // it did not prove that it belongs to the pinned realm
	CauseClock          Cause = "clock"           // as before, possibly because this machine's clock is wrong
	CauseProxy          Cause = "proxy"           // the proxy refuses the connection
	CauseNotSecmsg      Cause = "not_secmsg"      // another service answers
	CauseVersion        Cause = "version"         // it speaks another version of the protocol
	CauseSuspended      Cause = "suspended"       // an administrator suspended the account
	CauseRevoked        Cause = "revoked"         // the device was removed from its account
)

// HostError is a failure to reach or use a server. Every error that a [Client] or [Link]
// got from the network or its server wraps one.
type HostError struct {
	Host  string // HOST:PORT
	Cause Cause  // "" if it is none of the above
	Err   error
}

// Error returns host and reason.
func (e *HostError) Error() string { return e.Host + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *HostError) Unwrap() error { return e.Err }

// ClockError marks a failed proof of the realm when the clocks of the two sides differ.
type ClockError struct {
	Offset time.Duration // this machine's clock minus the server's
}

// Error returns the difference.
func (e *ClockError) Error() string {
	word := "ahead of"
	if e.Offset < 0 {
		word = "behind"
	}
	return fmt.Sprintf("this machine's clock is %s %s the server's", e.Offset.Abs().Round(time.Second), word)
}

// at adds the server's address to an error that does not have one yet. Errors of this
// process, such as a cancelled context, are unchanged.
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

// CauseOf returns why a server could not be used, and its HOST:PORT; "" if unknown.
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

// networkCause classifies errors of the network and of the TLS library.
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

// phase is the phase in which a connection attempt failed.
type phase int

const (
	phaseConnect phase = iota // TCP
	phaseTLS
	phaseRealm // the realm statement
)

// dialError adds host and cause to the error of a failed connection attempt. An attempt
// that timed out is ErrUnreachable; one that the caller cancelled is not.
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

// noDeadline keeps an error's text but hides its type: it was the attempt that timed out,
// not the caller's context.
type noDeadline struct{ err error }

func (e noDeadline) Error() string { return e.err.Error() }

// Reason describes an error in a few words that are safe to display and contain no type
// names. It returns "" if it can only say that something failed.
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
			return "the proxy " + e.proxy + " does not allow the connection"
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
		return "its answer violates the protocol"
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
