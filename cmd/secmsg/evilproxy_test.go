package main

import (
	"testing"

	"secmsg/rpc/wire"
	"secmsg/scripts/lab"
)

// evilProxy is a server that lies to the clients of a test.
type evilProxy struct{ *lab.FrameProxy }

// startEvilProxy listens on addr with the key of the server whose data directory is dir.
func startEvilProxy(t *testing.T, dir, addr, upstream string) *evilProxy {
	t.Helper()
	p, err := lab.NewFrameProxy(dir, addr, upstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &evilProxy{p}
}

// hook sets the hooks; nil leaves traffic as it is.
func (p *evilProxy) hook(rest func(method, path string, status int, body []byte) []byte, deliver func(account string, envs []*wire.Envelope) []*wire.Envelope) {
	p.Hook(lab.FrameHooks{REST: rest, Deliver: deliver})
}
