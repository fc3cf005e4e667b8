package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"secmsg/rpc/local"
)

const (
	// maxLog is the size in bytes at which the daemon's log is rotated.
	maxLog = 8 << 20
	// maxLogLine bounds the lines that lastError reads.
	maxLogLine = 64 << 10
)

// openLog opens the daemon's log for appending and returns its size. A large log is
// rotated first; one old generation is kept.
func openLog(path string) (*os.File, int64, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, fmt.Errorf("rotate the daemon's log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the daemon's log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("open the daemon's log: %w", err)
	}
	return f, info.Size(), nil
}

// loggedError returns the error with which a daemon exited, read from its log after
// offset. The code is in_use if the daemon found another one on its profile.
func loggedError(log *os.File, offset int64) *local.Error {
	if e := lastError(log.Name(), offset); e != nil {
		return e
	}
	// The log holds no error. Perhaps it cannot be written.
	if _, err := log.WriteString("\n"); err != nil {
		return local.IOError(err, "the daemon exited at once, and its log cannot be written: %v", err)
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon exited at once").WithHint("see the log %s", log.Name())
}

// lastError finds the last error object in the log after offset.
func lastError(path string, offset int64) *local.Error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil
	}
	var last *local.Error
	r := bufio.NewReader(io.LimitReader(f, maxLog))
	for {
		line, err := local.ReadLine(r, maxLogLine)
		if err != nil {
			return last
		}
		var o struct {
			Error *local.Error `json:"error"`
		}
		if json.Unmarshal(line, &o) == nil && o.Error != nil && o.Error.Code != "" {
			last = o.Error
		}
	}
}
