package ca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// Intervals.
const (
	// maintainEvery is how often certificates and given files are checked and the statement is signed
	// again, so that the statement names a replaced file's key within the hour.
	maintainEvery = time.Hour
	// warnBefore is how long before the end of the issuing CA the health check warns, if the root key
	// is not present to replace it.
	warnBefore = 60 * 24 * time.Hour
)

// Options configure a CA.
type Options struct {
	Dir    string   // the server's directory
	Domain string   // the realm
	Entry  []string // HOST:PORT of the entry points, at least one
	Hosts  []string // additional names and IP addresses of the TLS certificate
	// TLSCert and TLSKey are files that replace the certificate of our own CA.
	TLSCert, TLSKey string
	// Also lists certificate files whose keys the statement names, too.
	Also []string
	// StatementLife is how long a statement is valid. 0, and anything above the protocol's maximum,
	// means that maximum.
	StatementLife time.Duration
	Now           func() time.Time // nil means time.Now
	Logger        *slog.Logger     // nil for no log
}

// CA issues certificates for one realm.
type CA struct {
	opt  Options // constant
	root *x509.Certificate
	// epoch is constant for the life of the process.
	epoch [identity.EpochSize]byte

	mu        sync.Mutex
	issuing   *identity.Authority // guarded by mu
	tls       tlsState            // guarded by mu
	statement []byte              // guarded by mu
	signed    time.Time           // guarded by mu
	problems  []string            // guarded by mu
}

// Create creates root, issuing CA and epoch in an empty directory and returns the realm's fingerprint.
// The first Open creates the TLS certificate.
func Create(dir, domain string, now time.Time) (identity.Fingerprint, error) {
	root, err := identity.NewRoot(domain, now)
	if err != nil {
		return identity.Fingerprint{}, fmt.Errorf("create realm: %w", err)
	}
	issuing, err := root.NewIssuing(domain, now)
	if err != nil {
		return identity.Fingerprint{}, fmt.Errorf("create realm: %w", err)
	}
	var epoch [identity.EpochSize]byte
	rand.Read(epoch[:])
	if err := errors.Join(
		saveAuthority(dir, rootName, root),
		saveAuthority(dir, issuingName, issuing),
		writeFile(filepath.Join(dir, epochFile), []byte(hex.EncodeToString(epoch[:])+"\n")),
	); err != nil {
		return identity.Fingerprint{}, fmt.Errorf("create realm: %w", err)
	}
	return identity.RootFingerprint(root.Cert), nil
}

// Open loads the authority from its directory and renews certificates that are due.
func Open(opt Options) (*CA, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.StatementLife <= 0 || opt.StatementLife > identity.StatementLifetime {
		opt.StatementLife = identity.StatementLifetime
	}
	c := &CA{opt: opt}
	data, err := readFile(filepath.Join(opt.Dir, rootName+certSuffix))
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	certs, err := parseCerts(data)
	if err != nil {
		return nil, fmt.Errorf("open CA: root: %w", err)
	}
	if c.root, err = identity.ParseRoot(certs[0].Raw); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if c.issuing, err = loadAuthority(opt.Dir, issuingName); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if c.epoch, err = loadEpoch(opt.Dir); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if err := c.Maintain(); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return c, nil
}

// Root returns the root certificate.
func (c *CA) Root() *x509.Certificate { return c.root }

// Fingerprint returns the realm's fingerprint.
func (c *CA) Fingerprint() identity.Fingerprint { return identity.RootFingerprint(c.root) }

// IssueAccount certifies the key of a certificate request and returns the leaf and the issuing
// certificate. Errors are those of identity.Authority.IssueAccount.
func (c *CA) IssueAccount(csr []byte, addr identity.Address) ([][]byte, error) {
	iss := c.authority()
	leaf, err := iss.IssueAccount(csr, addr, c.opt.Now())
	if err != nil {
		return nil, err
	}
	return [][]byte{leaf, iss.Cert.Raw}, nil
}

// Reissue certifies a key that has been certified for the same account before.
func (c *CA) Reissue(pub key.SigningPublic, addr identity.Address) ([][]byte, error) {
	iss := c.authority()
	leaf, err := iss.CertifyAccount(pub, addr, c.opt.Now())
	if err != nil {
		return nil, err
	}
	return [][]byte{leaf, iss.Cert.Raw}, nil
}

// Statement returns the realm statement and the issuing certificate that signed it. A statement over an
// hour old is signed again.
func (c *CA) Statement() (statement, issuing []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	if c.statement == nil || now.Sub(c.signed) >= maintainEvery || now.Before(c.signed) {
		if err := c.signLocked(now); err != nil {
			return nil, nil, err
		}
	}
	return c.statement, c.issuing.Cert.Raw, nil
}

// Problems returns warnings for the administrator.
func (c *CA) Problems() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.problems)
}

// Maintain renews everything that expires: issuing CA, TLS certificate, given files and statement.
func (c *CA) Maintain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	c.problems = nil
	// A failure of one, such as a missing file, must not keep the others from being renewed.
	return errors.Join(c.renewIssuingLocked(now), c.refreshTLSLocked(now), c.signLocked(now))
}

// Run calls Maintain every hour until ctx ends. Failures are logged and show in Problems.
func (c *CA) Run(ctx context.Context) {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.Maintain(); err != nil {
			c.opt.Logger.Error("could not renew certificates", "error", err)
			c.mu.Lock()
			c.problems = append(c.problems, "certificates could not be renewed; see the log")
			c.mu.Unlock()
		}
	}
}

func (c *CA) authority() *identity.Authority {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issuing
}

// renewIssuingLocked replaces the issuing CA at half its lifetime if the root key is present.
func (c *CA) renewIssuingLocked(now time.Time) error {
	cert := c.issuing.Cert
	if now.Before(cert.NotBefore.Add(identity.IssuingRenewAfter)) {
		return nil
	}
	root, err := loadAuthority(c.opt.Dir, rootName)
	if missing(err) {
		if now.Add(warnBefore).After(cert.NotAfter) {
			c.problems = append(c.problems, fmt.Sprintf(
				"the issuing CA ends on %s and root.key is not in the data directory to replace it", cert.NotAfter.UTC().Format(time.DateOnly)))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("renew issuing CA: %w", err)
	}
	next, err := root.NewIssuing(c.opt.Domain, now)
	if err != nil {
		return fmt.Errorf("renew issuing CA: %w", err)
	}
	if err := saveAuthority(c.opt.Dir, issuingName, next); err != nil {
		return fmt.Errorf("renew issuing CA: %w", err)
	}
	c.issuing = next
	c.opt.Logger.Info("issuing CA replaced", "until", next.Cert.NotAfter)
	return nil
}

// signLocked signs a new statement.
func (c *CA) signLocked(now time.Time) error {
	s := identity.RealmStatement{
		Domain: c.opt.Domain, Entry: c.opt.Entry, TLSKeys: c.tls.also, Epoch: c.epoch,
		Issued: now, Expires: now.Add(c.opt.StatementLife),
	}
	signed, err := s.Sign(c.issuing)
	if err != nil {
		return err
	}
	c.statement, c.signed = signed, now
	return nil
}
