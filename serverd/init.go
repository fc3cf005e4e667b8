package serverd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/serverd/admin"
	"secmsg/serverd/api"
	"secmsg/serverd/ca"
	"secmsg/serverd/store"
)

// The first invite: one account, valid as long as by default for `admin invite create`.
const (
	firstUses = 1
	firstLife = 72 * time.Hour
)

// InitOptions describe a new server.
type InitOptions struct {
	Dir     string
	Domain  string
	Address string // HOST or HOST:PORT written into invites; empty: the domain, default port
	Now     time.Time
}

// InitResult describes the new server.
type InitResult struct {
	Domain      string `json:"domain"`
	Fingerprint string `json:"fingerprint"`
	Invite      string `json:"invite"`
	Data        string `json:"data"`
}

// Init creates a server in a directory that does not exist or is empty: root and issuing CA, TLS
// certificate, token key, database, configuration file and a first invite. It returns ErrInUse, a
// *config.LooseError, or identity.ErrFormat for an invalid domain or address.
func Init(ctx context.Context, opt InitOptions) (InitResult, error) {
	if err := identity.ValidDomain(opt.Domain); err != nil {
		return InitResult{}, fmt.Errorf("domain: %w", err)
	}
	address, err := fullAddress(opt.Address, opt.Domain)
	if err != nil {
		return InitResult{}, err
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return InitResult{}, fmt.Errorf("data directory: %w", err)
	}
	if err := claim(dir); err != nil {
		return InitResult{}, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return InitResult{}, err
	}
	res, err := fill(ctx, dir, address, opt)
	if err != nil {
		// The directory was empty; an incomplete server would block the next attempt.
		err = errors.Join(err, empty(dir))
	}
	return res, errors.Join(err, unlock())
}

// empty removes the files of a directory that was empty before.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

// fullAddress returns HOST:PORT.
func fullAddress(address, domain string) (string, error) {
	if address == "" {
		address = domain
	}
	if err := identity.ValidHostPort(address); err != nil {
		return "", fmt.Errorf("address: %w", err)
	}
	return identity.Invite{Addr: address}.DialAddr(), nil
}

// claim creates dir, or accepts an empty one.
func claim(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return config.EnsurePrivateDir(dir)
}

// fill writes all files. token.key comes last: without it the directory does not count as a server.
func fill(ctx context.Context, dir, address string, opt InitOptions) (res InitResult, err error) {
	fingerprint, err := ca.Create(dir, opt.Domain, opt.Now)
	if err != nil {
		return InitResult{}, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return InitResult{}, fmt.Errorf("address: %w", err)
	}
	// Open creates the TLS certificate, and shows that everything can be read back.
	if _, err := ca.Open(ca.Options{
		Dir: dir, Domain: opt.Domain, Entry: []string{address}, Hosts: certificateHosts(host), Now: func() time.Time { return opt.Now },
	}); err != nil {
		return InitResult{}, err
	}
	st, err := store.Open(ctx, filepath.Join(dir, storeFile), store.Options{})
	if err != nil {
		return InitResult{}, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	inv, err := admin.NewInvite(ctx, st, admin.InviteOptions{
		Address: address, Fingerprint: fingerprint, Uses: firstUses, Life: firstLife, Now: opt.Now,
	})
	if err != nil {
		return InitResult{}, err
	}
	if err := writeNew(filepath.Join(dir, config.ServerFile), []byte(config.SampleServer(opt.Domain, address))); err != nil {
		return InitResult{}, err
	}
	token := make([]byte, api.TokenKeySize)
	rand.Read(token)
	if err := writeNew(filepath.Join(dir, tokenFile), token); err != nil {
		return InitResult{}, err
	}
	return InitResult{Domain: opt.Domain, Fingerprint: fingerprint.String(), Invite: inv.Invite, Data: dir}, nil
}

// certificateHosts returns the names of the TLS certificate besides the domain: the host in invites,
// localhost and loopback.
func certificateHosts(host string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, h := range hosts {
		if h == host {
			return hosts
		}
	}
	return append(hosts, strings.Trim(host, "[]"))
}
