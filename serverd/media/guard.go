package media

import (
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// maxPacket bounds a packet in bytes; a longer one exceeds every path's MTU. It is one less than
	// pion's buffer, because pion treats a full buffer as a truncated packet.
	maxPacket = 1599
	// stunHeader is the length of a STUN header in bytes (RFC 8489, section 5).
	stunHeader = 20
	// protocolTCP is TCP in REQUESTED-TRANSPORT (RFC 8656, section 18.8).
	protocolTCP = 6
)

// guard inspects every incoming message except ChannelData before pion sees it. It returns the message
// to hand to pion and the answer to send instead; each is nil for none.
func (s *Server) guard(b []byte, from endpoint) (pass, answer []byte) {
	if len(b) == 0 || len(b) > maxPacket {
		return nil, nil
	}
	if len(b) < stunHeader || b[0]&0xC0 != 0 {
		return nil, nil
	}
	var t stun.MessageType
	t.ReadValue(binary.BigEndian.Uint16(b))
	switch {
	case t == stun.NewType(stun.MethodSend, stun.ClassIndication):
		return b, nil // relayConn checks the peer
	case t.Class != stun.ClassRequest:
		return nil, nil // we send no requests, so we expect no answers; other indications get none
	}
	e := s.sessions.at(from)
	if (e == nil || t.Method == stun.MethodBinding) && !s.mayAnswer(from.addr.Addr()) {
		// The sender's address may be forged, and an answer is up to four times as long as the request.
		s.counters.droppedRequests.Add(1)
		return nil, nil
	}
	if t.Method == stun.MethodBinding {
		return b, nil
	}
	m := &stun.Message{Raw: b}
	if m.Decode() != nil {
		return nil, nil
	}
	key := s.keyOf(m, e)
	if key == nil {
		return b, nil // pion challenges or refuses it
	}
	code := s.refusal(m, e, from)
	if code != 0 {
		return nil, signed(m, key, stun.NewType(t.Method, stun.ClassErrorResponse), stun.ErrorCodeAttribute{Code: code})
	}
	return s.shorten(m, b, key), nil
}

// keyOf returns the key of a request whose credentials and signature are valid, else nil. pion checks
// the nonce; a repeated request gets the same refusal.
func (s *Server) keyOf(m *stun.Message, e *session) []byte {
	username, err := m.Get(stun.AttrUsername)
	if err != nil {
		return nil
	}
	realm, err := m.Get(stun.AttrRealm)
	if err != nil || !s.authorized(string(realm), string(username), e) {
		return nil
	}
	key := s.longTermKey(string(username))
	if stun.MessageIntegrity(key).Check(m) != nil {
		return nil
	}
	return key
}

// refusal returns the error code that an authentic request gets, or 0.
func (s *Server) refusal(m *stun.Message, e *session, from endpoint) stun.ErrorCode {
	switch m.Type.Method {
	case stun.MethodAllocate:
		transport, err := m.Get(stun.AttrRequestedTransport)
		if err == nil && len(transport) > 0 && transport[0] == protocolTCP {
			s.counters.refusedTCP.Add(1)
			return stun.CodeUnsupportedTransProto
		}
		if !s.isOriginal(m, from) {
			s.counters.refusedLogin.Add(1)
			return stun.CodeUnauthorized
		}
	case stun.MethodConnect, stun.MethodConnectionBind:
		s.counters.refusedTCP.Add(1)
		return stun.CodeForbidden
	case stun.MethodCreatePermission, stun.MethodChannelBind:
		return s.peerRefusal(m, e)
	}
	return 0
}

// isOriginal reports whether an authentic Allocate request comes from its first sender.
func (s *Server) isOriginal(m *stun.Message, from endpoint) bool {
	username, err1 := m.Get(stun.AttrUsername)
	signature, err2 := m.Get(stun.AttrMessageIntegrity)
	account, _, err3 := parseUsername(string(username))
	if err1 != nil || err2 != nil || err3 != nil || len(signature) != sha1.Size {
		return false
	}
	return s.sessions.original(account, [sha1.Size]byte(signature), from)
}

// peerRefusal checks the peers that a request names (attack F6, crypto/ATTACKS.md).
func (s *Server) peerRefusal(m *stun.Message, e *session) stun.ErrorCode {
	var t *table
	if e != nil {
		t = e.table.Load()
	}
	fresh, forbidden := 0, false
	err := m.ForEach(stun.AttrXORPeerAddress, func(m *stun.Message) error {
		var x stun.XORMappedAddress
		if err := x.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
			return err
		}
		addr, _ := netip.AddrFromSlice(x.IP)
		peer := netip.AddrPortFrom(addr.Unmap(), uint16(x.Port))
		if t != nil && !t.permitted[peer.Addr()] {
			fresh++
		}
		// Permissions are for addresses; a client may leave out the port (RFC 8656, section 9.2).
		anyPort := m.Type.Method == stun.MethodCreatePermission && x.Port == 0
		if !s.mayReach(peer) && !(anyPort && s.mayReachAddress(peer.Addr())) {
			forbidden = true
		}
		return nil
	})
	switch {
	case err != nil:
		return stun.CodeBadRequest
	case forbidden:
		s.counters.refusedPeers.Add(1)
		return stun.CodeForbidden
	case t == nil:
		return 0 // pion answers that there is no allocation
	case len(t.permitted)+fresh > maxPermissions:
		return stun.CodeInsufficientCapacity
	case m.Type.Method == stun.MethodChannelBind && len(t.channels) >= maxChannels:
		number, err := m.Get(stun.AttrChannelNumber)
		if err != nil || len(number) < 2 || t.channels[binary.BigEndian.Uint16(number)] == nil {
			return stun.CodeInsufficientCapacity
		}
	}
	return 0
}

// shorten reduces a requested lifetime to our maximum; pion would grant anything below an hour. It
// signs the message again, since the signature covers the lifetime. Other messages are returned
// unchanged.
func (s *Server) shorten(m *stun.Message, b, key []byte) []byte {
	if m.Type.Method != stun.MethodAllocate && m.Type.Method != stun.MethodRefresh {
		return b
	}
	asked, err := m.Get(stun.AttrLifetime)
	limit := uint32(s.opt.Limits.Lifetime / time.Second)
	if err != nil || len(asked) != 4 || binary.BigEndian.Uint32(asked) <= limit {
		return b
	}
	out := &stun.Message{Type: m.Type, TransactionID: m.TransactionID}
	out.WriteHeader()
	for _, a := range m.Attributes {
		switch a.Type {
		case stun.AttrMessageIntegrity, stun.AttrFingerprint:
		case stun.AttrLifetime:
			out.Add(a.Type, binary.BigEndian.AppendUint32(nil, limit))
		default:
			out.Add(a.Type, a.Value)
		}
	}
	if stun.MessageIntegrity(key).AddTo(out) != nil {
		return nil
	}
	return out.Raw
}

// signed makes a signed answer to m.
func signed(m *stun.Message, key []byte, t stun.MessageType, more ...stun.Setter) []byte {
	setters := append([]stun.Setter{stun.NewTransactionIDSetter(m.TransactionID), t}, more...)
	out, err := stun.Build(append(setters, stun.MessageIntegrity(key))...)
	if err != nil {
		return nil
	}
	return out.Raw
}
