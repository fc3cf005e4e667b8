package api

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"secmsg/serverd/limit"
)

type proxyKey struct{}

// TrustProxy marks the connections of the listener that only a reverse proxy on this machine reaches.
// X-Forwarded-For is trusted only there. TrustProxy is meant for http.Server.BaseContext.
func TrustProxy(ctx context.Context) context.Context {
	return context.WithValue(ctx, proxyKey{}, true)
}

// AddressKey returns the key of a remote address for limits: the IPv4 address, or the /64 of an IPv6
// address. All other addresses, such as Unix sockets, share one key.
func AddressKey(remote string) string {
	ip, err := netip.ParseAddr(remote)
	if err != nil {
		ap, err := netip.ParseAddrPort(remote)
		if err != nil {
			return "local"
		}
		ip = ap.Addr()
	}
	switch site := limit.Site(ip); {
	case !site.IsValid():
		return "local"
	case site.IsSingleIP():
		return site.Addr().String()
	default:
		return site.String()
	}
}

// clientKey returns the limit key of a request's sender. Behind a proxy it is the last entry of
// X-Forwarded-For, which the proxy itself wrote; the client controls the earlier ones.
func clientKey(r *http.Request) string {
	if trusted, _ := r.Context().Value(proxyKey{}).(bool); trusted {
		values := r.Header.Values("X-Forwarded-For")
		if len(values) > 0 {
			list := values[len(values)-1]
			return AddressKey(strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:]))
		}
	}
	return AddressKey(r.RemoteAddr)
}
