package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"secmsg/rpc/local"
	placing "secmsg/rpc/local/place"
)

// tempPrefix begins the hidden names of incomplete files.
const tempPrefix = ".secmsg-part-"

// getHere fetches a file into a directory that the daemon cannot see or write to,
// for example in another mount namespace, or with a group that only this process
// has. This process writes the file by the daemon's rules: it has a hidden name until
// its last byte is verified.
func (a *app) getHere(ctx context.Context, c *local.Client, p local.FileGetParams, progress func(local.FileProgress)) (got local.FileGot, err error) {
	shown, err := c.ShowFile(ctx, local.FileIDParams{AccountParam: p.AccountParam, ID: p.ID})
	if err != nil {
		return got, err
	}
	dir, name := p.Path, ""
	root, err := os.OpenRoot(dir)
	if err == nil && shown.Event.File != nil {
		name = shown.Event.File.Name // the daemon has made it safe
	}
	if err != nil {
		dir, name = filepath.Split(p.Path)
		root, err = os.OpenRoot(dir)
	}
	if err != nil {
		return got, sourceError(dir, err)
	}
	defer root.Close()
	h := &here{root: root, name: name, temp: tempPrefix + rand.Text(), exact: dir != p.Path || p.Overwrite, overwrite: p.Overwrite}
	if d, err := root.Open("."); err != nil {
		return got, sourceError(dir, err)
	} else if device, inode, err := local.FileIdentity(d); errors.Join(err, d.Close()) != nil || device != p.Device || inode != p.Inode {
		return got, local.Errorf(local.CodeIO, "%s: the directory was replaced during the command; nothing was saved", dir)
	}
	if h.f, err = root.OpenFile(h.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, placing.Mode); err != nil {
		return got, sourceError(dir, err)
	}
	p.Path, p.Overwrite, p.OrStream, p.Stream, p.Device, p.Inode = "", false, false, true, 0, 0
	got, err = await(ctx, func() (local.FileGot, error) { return c.GetFile(ctx, p, fileSink{h.f, h.finish}, progress) })
	if err != nil {
		_ = h.f.Close() // err is the more useful error
		if e := root.Remove(h.temp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			a.notef("cannot remove the incomplete file %s from %s: %v", h.temp, dir, e)
		}
		return got, err
	}
	got.Path = filepath.Join(dir, h.name)
	return got, nil
}

// here is a file that this process saves.
type here struct {
	root             *os.Root
	f                *os.File
	name, temp       string
	exact, overwrite bool
}

// finish gives the whole file its name.
func (h *here) finish() error {
	err := errors.Join(h.f.Sync(), h.f.Close())
	switch {
	case err != nil:
	case h.overwrite:
		err = h.root.Rename(h.temp, h.name)
	case h.exact:
		err = placing.Exact(h.root, h.temp, h.name)
	default:
		h.name, err = placing.Numbered(h.root, h.temp, h.name)
	}
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists", h.name).WithHint("choose another path, or replace the file with --force")
	}
	if err != nil {
		return sourceError(h.name, err)
	}
	return placing.SyncDir(h.root)
}
