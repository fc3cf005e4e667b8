package serverd

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"secmsg/config"
	"secmsg/crypto/key"
	rpcadmin "secmsg/rpc/admin"
	"secmsg/serverd/api"
	"secmsg/serverd/limit"
	"secmsg/serverd/relay"
	"secmsg/serverd/store"
)

// Paths of the relay's two WebSockets (rpc/PROTOCOL.md, sections 3 and 4).
const (
	pathReplica = "/v1/replica"
	pathContact = "/v1/contact"
)

// openRelay starts the relay if it is served.
func (s *Server) openRelay() error {
	if !s.serves(config.RoleRelay) {
		return nil
	}
	l := s.cfg.Limits
	r, err := relay.New(relay.Options{
		Store: s.store, Tokens: s.api, Logger: s.logger.With("part", "relay"), Now: s.clock.Now, Held: s.clockHeld,
		Limits: relay.Limits{
			Messages: limit.Rate(l.Messages), Strangers: limit.Rate(l.Lookups),
			Mailbox:   store.MailboxLimits{Envelopes: l.Mailbox.Envelopes, Bytes: int64(l.Mailbox.Bytes)},
			Retention: l.Mailbox.Retention, HandoffEnvelopes: l.HandoffSize, HandoffWait: l.HandoffWait,
			Ping: l.Ping, Write: l.Write, Revocations: l.Revocations, StoreGrace: l.StoreGrace,
			StepsFlush: l.StepsFlush, Sweep: l.Sweep,
		},
	})
	if err != nil {
		return err
	}
	s.relay = r
	s.stats.Counters("relay", func() map[string]int64 { return relayCounters(r.Stats()) })
	return nil
}

// relayCounters names the relay's counters for the statistics.
func relayCounters(st relay.Stats) map[string]int64 {
	out := map[string]int64{
		"contacts": int64(st.Contacts), "replicas": int64(st.Replicas), "devices": int64(st.Devices), "memory_bytes": st.MemoryBytes,
		"refused": int64(st.Refused), "protocol_errors": int64(st.ProtocolErrors), "stale_fences": int64(st.StaleFences),
		"accepted_direct": int64(st.Direct), "accepted_stored": int64(st.Stored), "delivered": int64(st.Delivered),
		"expired": int64(st.Expired), "handoff_missed": int64(st.BoundMissed),
		"bytes_in": int64(st.BytesIn), "bytes_out": int64(st.BytesOut),
	}
	for reason, n := range st.Rejected {
		out["rejected_"+reason] = int64(n)
	}
	return out
}

// sockets serves the relay's two paths.
func (s *Server) sockets() http.Handler {
	if s.relay == nil {
		return http.NotFoundHandler()
	}
	return s.api.Guard(s.relay.Handler())
}

// tracer returns traceOf, or nil if the relay is not served here.
func (s *Server) tracer() func([16]byte) []rpcadmin.TraceStep {
	if s.relay == nil {
		return nil
	}
	return s.traceOf
}

// traceOf follows a message through the relay, for the admin socket.
func (s *Server) traceOf(message [16]byte) []rpcadmin.TraceStep {
	steps := s.relay.Trace(message)
	out := make([]rpcadmin.TraceStep, 0, len(steps))
	for _, st := range steps {
		step := rpcadmin.TraceStep{
			Time: rpcadmin.Time{Time: st.Time}, Message: uuid.UUID(st.Message).String(), State: st.Station.String(),
			Account: st.Sender, SenderDevice: st.SenderDevice.String(), Peer: st.Recipient, Device: st.Device.String(),
			Class: st.ClassName(), Reason: st.ReasonName(),
		}
		out = append(out, step)
	}
	return out
}

// connected reports whether a device has a connection to this server.
func (s *Server) connected(id key.DeviceID) bool { return s.relay != nil && s.relay.Connected(id) }

// closeRelay closes the relay. A second call waits again.
func (s *Server) closeRelay(ctx context.Context) error {
	if s.relay == nil {
		return nil
	}
	return s.relay.Close(ctx)
}

// hooks connect the API to the relay and the listener.
func (s *Server) hooks() api.Hooks {
	return api.Hooks{
		ContactsChanged: func(owner, peer string) {
			if s.relay != nil {
				s.relay.ContactsChanged(owner, peer)
			}
		},
		ManifestChanged: func(account string, _ []key.DeviceID) { s.relayAccountChanged(account) },
		Authenticated:   welcomeContext,
	}
}

// accountChanged makes an administrator's change to an account take effect at once.
func (s *Server) accountChanged(account string) {
	s.api.Forget(account)
	s.relayAccountChanged(account)
	s.dropCalls(account)
	s.blobs.wake() // a deleted account leaves bytes
}

// relayAccountChanged informs the relay early. If it fails, the relay finds the change when it polls
// revocations, or at the account's next connection.
func (s *Server) relayAccountChanged(account string) {
	if s.relay == nil {
		return
	}
	if err := s.relay.AccountChanged(context.Background(), account); err != nil {
		s.logger.Error("could not inform the relay of a changed account", "error", fmt.Errorf("%s: %w", account, err))
	}
}
