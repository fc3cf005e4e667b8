package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// blobIndex and blobHead identify a complete blob in a server's directory (serverd/blob, the disk
// backend): a hostile server knows its own disk format.
const (
	blobIndex = "index"
	blobHead  = "secmsg blob 1\n"
)

// Blobs returns the directories of the complete blobs on the server's disk.
func (w *World) Blobs() ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(w.ServerDir(), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil || d.IsDir() || d.Name() != blobIndex {
			return err
		}
		if b, err := os.ReadFile(path); err == nil && bytes.HasPrefix(b, []byte(blobHead)) {
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	return dirs, nil
}

// ReadBlob returns the parts of a blob, in order.
func ReadBlob(dir string) ([][]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, blobIndex))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	parts := make([][]byte, (len(b)-len(blobHead))/4)
	for i := range parts {
		if parts[i], err = os.ReadFile(blobPart(dir, i)); err != nil {
			return nil, fmt.Errorf("read blob: %w", err)
		}
	}
	return parts, nil
}

// WriteBlob replaces the parts of a blob in place, together with the index, as a hostile server can.
func WriteBlob(dir string, parts [][]byte) error {
	old, err := ReadBlob(dir)
	if err != nil {
		return err
	}
	for i := len(parts); i < len(old); i++ {
		if err := os.Remove(blobPart(dir, i)); err != nil {
			return fmt.Errorf("write blob: %w", err)
		}
	}
	index := []byte(blobHead)
	for i, p := range parts {
		index = binary.BigEndian.AppendUint32(index, uint32(len(p)))
		if err := os.WriteFile(blobPart(dir, i), p, privateFile); err != nil {
			return fmt.Errorf("write blob: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, blobIndex), index, privateFile); err != nil {
		return fmt.Errorf("write blob: %w", err)
	}
	return nil
}

func blobPart(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("%05d", i+1)) }
