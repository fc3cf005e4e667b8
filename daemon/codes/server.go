package codes

import (
	"secmsg/daemon/link"
	"secmsg/rpc/local"
)

// Server describes a failed request to the server, or a failed connection, in
// the codes of the local RPC, with host, port and cause as far as they are
// known. It returns nil for an error of another origin.
func Server(err error) *local.Error {
	kind := link.KindOf(err)
	cause, host := link.CauseOf(err)
	server := "the server"
	if host != "" {
		server += " " + host
	}
	var e *local.Error
	switch {
	case cause == link.CauseClock:
		e = local.Errorf(local.CodeUnreachable, "%s cannot be checked: %s", server, link.Reason(err)).
			WithHint("set this machine's clock, then try again")
	case kind == link.KindUntrusted:
		cause = link.CauseCertificate
		e = local.Errorf(local.CodeUntrusted, "%s could not prove that it belongs to the realm with this fingerprint (is a proxy in between?); nothing was sent to it", server)
	case cause == link.CauseSuspended:
		e = local.Errorf(local.CodeRefused, "%s has suspended this account", server).WithHint("ask the administrator of the server")
	case cause == link.CauseRevoked:
		e = local.Errorf(local.CodeRefused, "this device was removed from its account")
	case cause == link.CauseVersion:
		e = local.Errorf(local.CodeUnreachable, "%s speaks another version of the protocol", server).WithHint("update secmsg")
	case kind == link.KindUnreachable:
		e = local.Errorf(local.CodeUnreachable, "%s cannot be reached", server)
		if why := link.Reason(err); why != "" {
			e.Message += ": " + why
		}
	case kind == link.KindRateLimited:
		e = local.Errorf(local.CodeRateLimited, "%s received too many requests; try again later", server)
	case kind == link.KindQuota:
		e = local.Errorf(local.CodeQuota, "a quota on %s is exhausted", server)
	case kind == link.KindNotFound:
		e = local.Errorf(local.CodeNotFound, "not found on %s", server)
	case kind == link.KindRefused:
		e = local.Errorf(local.CodeRefused, "%s refused this account or device", server)
	case kind == link.KindCanceled:
		e = local.Errorf(local.CodeInterrupted, "interrupted")
	case kind == link.KindInvite:
		e = local.Errorf(local.CodeRefused, "the invite is unknown, used, expired or revoked").WithHint("ask for a new invite")
	case kind == link.KindNameTaken:
		e = local.Errorf(local.CodeUsage, "the name is taken").WithHint("choose another --name")
	default:
		return nil
	}
	e.Cause, e.Host, e.RetryAfter = local.Cause(cause), host, link.Wait(err).Seconds()
	return e
}
