package daemon

import (
	"context"
	"io"

	"secmsg/rpc/local"
)

func noFiles() error { return local.Errorf(local.CodeInternal, "files are not available yet") }

// SendFiles implements localapi.Backend.
func (d *Daemon) SendFiles(context.Context, local.FileSendParams, io.Reader, func(local.FileProgress)) (local.SendResults, error) {
	return local.SendResults{}, noFiles()
}

// GetFile implements localapi.Backend.
func (d *Daemon) GetFile(context.Context, local.FileGetParams, io.WriteCloser, func(local.FileProgress)) (local.FileGot, error) {
	return local.FileGot{}, noFiles()
}

// ListFiles implements localapi.Backend.
func (d *Daemon) ListFiles(context.Context, local.FileListParams) (local.Events, error) {
	return local.Events{}, noFiles()
}

// ShowFile implements localapi.Backend.
func (d *Daemon) ShowFile(context.Context, local.FileIDParams) (local.FileShown, error) {
	return local.FileShown{}, noFiles()
}

// CancelFile implements localapi.Backend.
func (d *Daemon) CancelFile(context.Context, local.FileIDParams) (local.SendResult, error) {
	return local.SendResult{}, noFiles()
}

// CollectFiles implements localapi.Backend.
func (d *Daemon) CollectFiles(context.Context, string) (local.FileGC, error) {
	return local.FileGC{}, noFiles()
}
