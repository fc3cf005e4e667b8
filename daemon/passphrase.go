package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"secmsg/crypto/seal"
)

const (
	// credential is the name of the systemd credential that unlocks the profile.
	credential = "secmsg.passphrase"
	// credentialsVar names systemd's directory of credentials (systemd.exec(5)).
	credentialsVar = "CREDENTIALS_DIRECTORY"
)

// startPassphrase returns the passphrase that the configuration or systemd
// gives at start; nil if neither does.
func startPassphrase(file string) ([]byte, error) {
	if file != "" {
		return readPassphrase(file)
	}
	dir := os.Getenv(credentialsVar)
	if dir == "" {
		return nil, nil
	}
	p, err := readPassphrase(filepath.Join(dir, credential))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return p, err
}

// readPassphrase returns the first line of a file.
func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, seal.MaxPassphrase+2))
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 || len(line) > seal.MaxPassphrase {
		return nil, fmt.Errorf("read passphrase: the first line of %s is empty or too long (%d bytes)", path, len(line))
	}
	return line, nil
}
