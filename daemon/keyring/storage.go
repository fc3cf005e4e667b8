package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"secmsg/config/durable"
	"secmsg/crypto/seal"
)

// mode is how the storage key is stored.
type mode int

const (
	modeNew     mode = 0 // no key yet
	modePlain   mode = 1 // unencrypted, in a file with mode 0600
	modeWrapped mode = 2 // encrypted with a passphrase
)

const (
	// plainFile contains the storage key of a profile without a passphrase.
	plainFile = "storage.key"
	// wrappedFile contains the storage key encrypted with a passphrase.
	wrappedFile = "storage.wrapped"
	// keyFilePerm is the mode of key files. Files with wider access are rejected.
	keyFilePerm fs.FileMode = 0o600
)

// readKeyFile returns how the storage key is stored, and the content of its file.
func readKeyFile(dir string) (mode, []byte, error) {
	plain, errPlain := readPrivate(filepath.Join(dir, plainFile), seal.StorageKeySize)
	wrapped, errWrapped := readPrivate(filepath.Join(dir, wrappedFile), seal.WrappedSize)
	switch {
	case errPlain == nil && errWrapped == nil:
		clear(plain)
		return modeNew, nil, fmt.Errorf("%w: both %s and %s exist", ErrKeyFile, plainFile, wrappedFile)
	case errPlain == nil && errors.Is(errWrapped, fs.ErrNotExist):
		return modePlain, plain, nil
	case errWrapped == nil && errors.Is(errPlain, fs.ErrNotExist):
		return modeWrapped, wrapped, nil
	case errors.Is(errPlain, fs.ErrNotExist) && errors.Is(errWrapped, fs.ErrNotExist):
		return modeNew, nil, nil
	case errPlain != nil && !errors.Is(errPlain, fs.ErrNotExist):
		return modeNew, nil, errPlain
	}
	return modeNew, nil, errWrapped
}

// readPrivate reads a file of exactly size bytes that is not accessible to others.
func readPrivate(path string, size int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if info.Mode().Perm()&^keyFilePerm != 0 {
		return nil, fmt.Errorf("%w: %s is open to other users (mode %04o); fix it with chmod 600", ErrKeyFile, path, info.Mode().Perm())
	}
	if info.Size() != int64(size) {
		return nil, fmt.Errorf("%w: %s has %d bytes, not %d", ErrKeyFile, path, info.Size(), size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		clear(b)
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return b, nil
}

// writeKeyFile stores a storage key in dir, encrypted with the passphrase unless that is
// empty.
func writeKeyFile(dir string, key seal.StorageKey, passphrase []byte, cost seal.Argon2Params) (mode, error) {
	if len(passphrase) == 0 {
		raw := key.Bytes()
		defer clear(raw)
		return modePlain, writeDurable(dir, plainFile, raw)
	}
	wrapped, err := seal.WrapStorageKey(key, passphrase, cost)
	if err != nil {
		return modeNew, err
	}
	return modeWrapped, writeDurable(dir, wrappedFile, wrapped)
}

// writeDurable creates a new file atomically: after a crash it is complete or missing.
func writeDurable(dir, name string, b []byte) (err error) {
	tmp := filepath.Join(dir, name+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, keyFilePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return durable.SyncDir(dir)
}

// removeKeyFiles removes a storage key that was not used for sealing.
func removeKeyFiles(dir string) error {
	for _, name := range []string{plainFile, wrappedFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrKeyFile, err)
		}
	}
	return nil
}
