package ca

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"secmsg/config/durable"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// Names of the files in the server's directory.
const (
	rootName    = "root"
	issuingName = "issuing"
	tlsName     = "tls"
	epochFile   = "epoch"
	certSuffix  = ".crt"
	keySuffix   = ".key"
	newSuffix   = ".new"
)

// Modes and sizes of files.
const (
	fileMode = 0o600
	// maxFile bounds the bytes read from one file; a chain of given certificates has a few KiB.
	maxFile = 256 << 10

	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
)

// writeFile replaces a file so that a crash leaves the old or the new content.
func writeFile(path string, data []byte) error {
	tmp := path + newSuffix
	if err := writeSynced(tmp, data); err != nil {
		return err
	}
	return install(tmp, path)
}

// writeSynced writes a private file and makes its content durable, but not its name: the caller renames
// it or syncs the directory.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// install renames tmp to path and makes the rename durable.
func install(tmp, path string) error {
	if err := durable.Rename(tmp, path); err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(path), err)
	}
	return nil
}

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is over %d bytes long", path, maxFile)
	}
	return os.ReadFile(path)
}

// savePair replaces a certificate chain and its key. Both are durable under temporary names before the
// first rename; after a crash between the two renames, loadPair completes them.
func savePair(dir, name string, chain [][]byte, priv any) error {
	certs, err := encodePair(chain, priv)
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	base := filepath.Join(dir, name)
	for i, suffix := range []string{keySuffix, certSuffix} {
		if err := writeSynced(base+suffix+newSuffix, certs[i]); err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
	}
	// Otherwise the first rename could survive a power loss that the other file's temporary name does
	// not.
	if err := durable.SyncDir(dir); err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	for _, suffix := range []string{keySuffix, certSuffix} {
		if err := install(base+suffix+newSuffix, base+suffix); err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
	}
	return nil
}

// encodePair returns key and chain in PEM.
func encodePair(chain [][]byte, priv any) ([2][]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return [2][]byte{}, fmt.Errorf("encode key: %w", err)
	}
	var certs []byte
	for _, c := range chain {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c})...)
	}
	return [2][]byte{pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), certs}, nil
}

// loadPair reads the files of savePair as PEM, and checks with match that they belong together.
func loadPair(dir, name string, match func(cert, key []byte) error) (cert, priv []byte, err error) {
	base := filepath.Join(dir, name)
	priv, err = readFile(base + keySuffix)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", name, err)
	}
	cert, err = readFile(base + certSuffix)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", name, err)
	}
	if err = match(cert, priv); err == nil {
		return cert, priv, nil
	}
	next, readErr := readFile(base + certSuffix + newSuffix)
	if readErr != nil || match(next, priv) != nil {
		return nil, nil, fmt.Errorf("load %s: %w", name, err)
	}
	if err := install(base+certSuffix+newSuffix, base+certSuffix); err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", name, err)
	}
	return next, priv, nil
}

// parseAuthority returns the Ed25519 CA in two PEM files.
func parseAuthority(certPEM, keyPEM []byte) (*identity.Authority, error) {
	certs, err := parseCerts(certPEM)
	if err != nil {
		return nil, err
	}
	priv, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	return identity.ParseAuthority(certs[0].Raw, priv)
}

// loadAuthority reads a CA from dir.
func loadAuthority(dir, name string) (*identity.Authority, error) {
	var a *identity.Authority
	_, _, err := loadPair(dir, name, func(c, k []byte) (err error) {
		a, err = parseAuthority(c, k)
		return err
	})
	return a, err
}

// saveAuthority writes a CA to dir.
func saveAuthority(dir, name string, a *identity.Authority) error {
	seed := a.Key.Seed()
	defer clear(seed)
	return savePair(dir, name, [][]byte{a.Cert.Raw}, ed25519.NewKeyFromSeed(seed))
}

// parseCerts returns the certificates of a PEM file, at least one.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != pemCert {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	return certs, nil
}

// parseKey reads a PKCS #8 Ed25519 key.
func parseKey(data []byte) (key.SigningPrivate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemKey {
		return key.SigningPrivate{}, errors.New("no PEM private key found")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return key.SigningPrivate{}, fmt.Errorf("parse key: %w", err)
	}
	seeded, ok := parsed.(interface{ Seed() []byte })
	if !ok {
		return key.SigningPrivate{}, errors.New("key is not Ed25519")
	}
	return key.ParseSigningSeed(seeded.Seed())
}

// loadEpoch reads the realm epoch.
func loadEpoch(dir string) (epoch [identity.EpochSize]byte, err error) {
	data, err := readFile(filepath.Join(dir, epochFile))
	if err != nil {
		return epoch, fmt.Errorf("load realm epoch: %w", err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(b) != len(epoch) {
		return epoch, errors.New("load realm epoch: the file does not contain 32 hexadecimal digits")
	}
	return [identity.EpochSize]byte(b), nil
}

// missing reports whether err means that a file does not exist.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
