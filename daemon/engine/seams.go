package engine

import (
	"context"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// Link is the traffic with the server, as package link implements it. Calls may
// come from any goroutine; REST calls block until they are answered.
type Link interface {
	// Send hands envelopes to the contact connection, in order. It fails when
	// the connection does not stand.
	Send(ctx context.Context, envelopes []*wire.Outgoing, steps uint64) error
	Subscribe(ctx context.Context, accounts []string, announce bool) error
	// Kick ends a pause between two attempts to connect.
	Kick()

	Account(ctx context.Context, name string) (wire.Account, error)
	Bundles(ctx context.Context, name string, devices []key.DeviceID) (wire.Bundles, error)
	PrekeyCount(ctx context.Context) (wire.PrekeyCount, error)
	PutPrekeys(ctx context.Context, p *wire.PutPrekeys) (wire.PrekeyCount, error)
	PutContact(ctx context.Context, name string, r wire.Relation) error
	DeleteContact(ctx context.Context, name string) error
	PutManifest(ctx context.Context, previous [32]byte, manifest []byte) error
	RenewCertificate(ctx context.Context) (wire.Certificate, error)
}
