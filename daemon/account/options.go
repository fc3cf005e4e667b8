package account

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/engine"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

const (
	// spoolDir holds sealed parts of uploads, in the profile's data directory.
	spoolDir = "spool"
	// downloadsDir is the default directory of fetched files.
	downloadsDir = "downloads"
)

func (s *Shared) downloads() string {
	if s.Config.Files.Dir != "" {
		return s.Config.Files.Dir
	}
	return filepath.Join(s.Config.Paths.Data, downloadsDir)
}

// Describe returns an account as the local RPC shows it.
func Describe(row store.Account) (local.Account, error) {
	addr, err := identity.ParseAddress(row.Address)
	if err != nil {
		return local.Account{}, err
	}
	out := local.Account{
		Name: addr.User, Address: row.Address, Default: row.Default, Device: key.DeviceID(row.Device).String(),
		DeviceName: row.DeviceName, Realm: identity.Fingerprint(row.Realm).String(), Server: row.Server,
	}
	if len(row.Chain) == 0 {
		return out, nil
	}
	leaf, err := x509.ParseCertificate(row.Chain[0])
	if err != nil {
		return local.Account{}, fmt.Errorf("own certificate: %w", err)
	}
	root, err := x509.ParseCertificate(row.Root)
	if err != nil {
		return local.Account{}, fmt.Errorf("realm root: %w", err)
	}
	cert, err := identity.VerifyAccount(root, row.Chain, addr, leaf.NotBefore)
	if err != nil {
		return local.Account{}, fmt.Errorf("own certificate: %w", err)
	}
	out.Fingerprint, out.CertificateExpires = cert.Key.Fingerprint(), local.Time{Time: cert.NotAfter}
	return out, nil
}

func linkTiming(c config.Client) link.Timing {
	i := c.Intervals
	return link.Timing{
		BackoffMin: i.ReconnectMin, BackoffMax: i.ReconnectMax, Ping: i.Ping, Write: i.Write, Request: i.Request,
	}
}

// proxyOf returns the proxy of the configuration.
func proxyOf(c config.Client) link.ProxyFunc {
	proxy, err := link.ProxyFrom(c.Proxy)
	if err != nil { // never fall back to a direct connection
		return func(*http.Request) (*url.URL, error) { return nil, err }
	}
	return proxy
}

func engineConfig(c config.Client) engine.Config {
	return engine.Config{
		Window: c.Limits.InFlight, DefaultWait: c.Intervals.SendWait, Retention: c.Limits.OutboxAge,
		ReceiptJitter: c.Intervals.ReceiptDelay, GapAfter: c.Intervals.Gap, ProbeTimeout: c.Intervals.Probe,
		RetryEvery: c.Intervals.Retry, AutoAccept: uint64(max(c.Files.AutoAccept, 0)),
		BackoffMin: c.Intervals.ReconnectMin, BackoffMax: c.Intervals.ReconnectMax,
	}
}
