package serverd

import (
	"context"
	"net/http"

	"secmsg/crypto/key"
	"secmsg/serverd/api"
)

// Paths of the relay's two WebSockets (rpc/PROTOCOL.md, 3 and 4).
const (
	pathReplica = "/v1/replica"
	pathContact = "/v1/contact"
)

// messages is what the wiring needs of the relay.
type messages interface {
	Handler() http.Handler
	Counters() map[string]int64
	// Close ends all sockets; a second call does nothing.
	Close(ctx context.Context) error
	// AccountChanged closes the sockets of an account that may no longer connect.
	AccountChanged(account string)
	// DevicesRevoked closes the sockets of devices.
	DevicesRevoked(account string, devices []key.DeviceID)
	// ContactsChanged looks at a pair's relation again.
	ContactsChanged(owner, peer string)
}

// noMessages stands where the relay is not served.
type noMessages struct{}

func (noMessages) Handler() http.Handler                 { return http.NotFoundHandler() }
func (noMessages) Counters() map[string]int64            { return nil }
func (noMessages) Close(context.Context) error           { return nil }
func (noMessages) AccountChanged(string)                 {}
func (noMessages) DevicesRevoked(string, []key.DeviceID) {}
func (noMessages) ContactsChanged(owner, peer string)    {}

// hooks connect the API with the relay and the listener.
func (s *Server) hooks() api.Hooks {
	return api.Hooks{
		ContactsChanged: func(owner, peer string) { s.relay.ContactsChanged(owner, peer) },
		DevicesRevoked:  func(account string, devices []key.DeviceID) { s.relay.DevicesRevoked(account, devices) },
		Authenticated:   welcomeContext,
	}
}

// accountChanged makes what an administrator did to an account take effect at once.
func (s *Server) accountChanged(account string) {
	s.api.Forget(account)
	s.relay.AccountChanged(account)
}

// openRelay opens the relay if it is served.
func (s *Server) openRelay() error { return nil }
