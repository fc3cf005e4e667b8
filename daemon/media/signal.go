package media

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// Offer makes the caller's offer and the fingerprint of its certificate, and
// begins to gather candidates.
func (s *Session) Offer(ctx context.Context) (sdp string, fingerprint []byte, err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, fmt.Errorf("make offer: %w", err)
	}
	if sdp, err = s.offer(nil); err != nil {
		return "", nil, err
	}
	if fingerprint, err = s.ownFingerprint(); err != nil {
		return "", nil, err
	}
	return sdp, fingerprint, nil
}

func (s *Session) offer(o *webrtc.OfferOptions) (string, error) {
	d, err := s.pc.CreateOffer(o)
	if err != nil {
		return "", fmt.Errorf("make offer: %w", err)
	}
	if err := s.pc.SetLocalDescription(d); err != nil {
		return "", fmt.Errorf("make offer: %w", err)
	}
	return withoutCandidates(d.SDP), nil
}

// ownFingerprint is the SHA-256 of the certificate that was made for this call.
func (s *Session) ownFingerprint() ([]byte, error) {
	fps, err := s.pc.GetConfiguration().Certificates[0].GetFingerprints()
	if err != nil {
		return nil, fmt.Errorf("own fingerprint: %w", err)
	}
	for _, f := range fps {
		if f.Algorithm != "sha-256" {
			continue
		}
		if b, err := parseColons(f.Value); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("own fingerprint: none of SHA-256")
}

// Accept takes the caller's offer, or its offer of a restart, and makes the
// answer. It is the callee's consent to connect: it begins to gather candidates,
// and the peer learns addresses of this host unless relays only are used. It
// fails with [ErrSignal] if the offer is malformed, and with [ErrRefused] if
// neither side sends anything that the other takes.
func (s *Session) Accept(ctx context.Context, remoteSDP string, remoteFingerprint []byte) (answerSDP string, fingerprint []byte, err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, fmt.Errorf("accept offer: %w", err)
	}
	if err := s.setRemote(webrtc.SDPTypeOffer, remoteSDP, remoteFingerprint, s.meet); err != nil {
		return "", nil, fmt.Errorf("accept offer: %w", err)
	}
	s.refuseUnwanted()
	d, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return "", nil, fmt.Errorf("accept offer (%v): %w", err, ErrSignal)
	}
	if err := s.pc.SetLocalDescription(d); err != nil {
		return "", nil, fmt.Errorf("accept offer (%v): %w", err, ErrSignal)
	}
	if fingerprint, err = s.ownFingerprint(); err != nil {
		return "", nil, err
	}
	return withoutCandidates(d.SDP), fingerprint, nil
}

// refuseUnwanted stops the transceivers that pion made for sections which no
// source or sink of ours answers.
func (s *Session) refuseUnwanted() {
	for _, t := range s.pc.GetTransceivers() {
		ours := false
		for _, o := range s.out {
			ours = ours || o.transceiver == t
		}
		for _, i := range s.in {
			ours = ours || i.transceiver == t
		}
		if !ours {
			if err := t.Stop(); err != nil {
				s.log.Debug("refuse a section", "error", err)
			}
		}
	}
}

// Answer takes the callee's answer, also that of a restart. It fails with
// [ErrSignal] if the answer is malformed, and with [ErrRefused] if it refuses
// everything.
func (s *Session) Answer(remoteSDP string, remoteFingerprint []byte) error {
	if err := s.setRemote(webrtc.SDPTypeAnswer, remoteSDP, remoteFingerprint, s.compare); err != nil {
		return fmt.Errorf("take answer: %w", err)
	}
	return nil
}

// meet makes the callee's sections: one for each source whose codec the offer
// takes, and one for each destination that can hold what the offer sends. What
// does not meet is refused for that medium alone. A restart changes nothing.
func (s *Session) meet(offer []section) error {
	if s.agreed {
		return nil
	}
	s.agreed = true
	for _, kind := range []Kind{Audio, Video} {
		if out := s.out[kind]; out != nil && !slices.ContainsFunc(offer, func(o section) bool {
			return o.accepted && o.kind == kind && o.takes && slices.Contains(o.codecs, out.source.Codec())
		}) {
			s.refuseSource(kind)
		}
		in := s.in[kind]
		if in == nil {
			continue
		}
		sends := slices.IndexFunc(offer, func(o section) bool { return o.accepted && o.kind == kind && o.sends })
		holds := slices.ContainsFunc(offer, func(o section) bool {
			return o.accepted && o.kind == kind && o.sends && slices.ContainsFunc(o.codecs, func(c Codec) bool { return slices.Contains(in.codecs, c) })
		})
		switch {
		case holds:
			continue
		case sends >= 0:
			s.post(Notice{Text: fmt.Sprintf("the peer sends %s in %s, which the destination cannot hold (%s); it is left out",
				kind, codecList(offer[sends].codecs), codecList(in.codecs))})
		default:
			s.post(Notice{Text: fmt.Sprintf("the peer sends no %s", kind)})
		}
		s.refused[in] = true
	}
	if err := s.anythingLeft(); err != nil {
		return err
	}
	return s.addTransceivers()
}

// compare finds out what the callee's answer has refused.
func (s *Session) compare(answer []section) error {
	if s.agreed {
		return nil
	}
	s.agreed = true
	find := func(t *webrtc.RTPTransceiver) section {
		for _, a := range answer {
			if t != nil && a.mid == t.Mid() && a.accepted {
				return a
			}
		}
		return section{}
	}
	for _, kind := range []Kind{Audio, Video} {
		if out := s.out[kind]; out != nil && !find(out.transceiver).takes {
			s.refuseSource(kind)
		}
		if in := s.in[kind]; in != nil && !find(in.transceiver).sends {
			s.refused[in] = true
			s.post(Notice{Text: fmt.Sprintf("the peer sends no %s in %s", kind, codecList(in.codecs))})
		}
	}
	return s.anythingLeft()
}

// refuseSource notes that the peer does not take what a source sends.
func (s *Session) refuseSource(kind Kind) {
	out := s.out[kind]
	s.refused[out] = true
	close(out.unwanted)
}

// anythingLeft fails if nothing will be sent either way.
func (s *Session) anythingLeft() error {
	if len(s.refused) < len(s.out)+len(s.in) {
		return nil
	}
	return fmt.Errorf("nothing that one side sends is taken by the other: %w", ErrRefused)
}

// codecList names codecs for people.
func codecList(list []Codec) string {
	if len(list) == 0 {
		return "a codec that is not known here"
	}
	var names []string
	for _, c := range list {
		names = append(names, string(c))
	}
	return strings.Join(names, " or ")
}

// setRemote applies what the peer sent, under the fingerprint that is trusted,
// and then the candidates that came before. agree looks at the sections of an
// offer before they are applied, and at those of an answer afterwards.
func (s *Session) setRemote(kind webrtc.SDPType, remote string, fingerprint []byte, agree func([]section) error) error {
	trusted, sections, err := trustedSDP(remote, fingerprint)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if s.fingerprint != nil && subtle.ConstantTimeCompare(s.fingerprint, fingerprint) != 1 {
		s.mu.Unlock()
		return fmt.Errorf("another fingerprint within one call: %w", ErrFingerprint)
	}
	s.fingerprint = slices.Clone(fingerprint)
	if kind == webrtc.SDPTypeOffer && s.remoteSet {
		s.candidates = 0 // a restart of the peer
	}
	s.mu.Unlock()
	if kind == webrtc.SDPTypeOffer {
		if err := agree(sections); err != nil {
			return err
		}
	}
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: trusted}); err != nil {
		return fmt.Errorf("remote description (%v): %w", err, ErrSignal)
	}
	if kind == webrtc.SDPTypeAnswer {
		if err := agree(sections); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.remoteSet, s.fragments = true, fragmentsOf(trusted)
	waiting := slices.DeleteFunc(s.pending, func(c string) bool { return !s.currentLocked(c) })
	s.pending = nil
	s.mu.Unlock()
	for _, c := range waiting {
		if err := s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c}); err != nil {
			s.log.Debug("candidate of the peer is not usable")
		}
	}
	return nil
}

// currentLocked reports whether a candidate belongs to the remote SDP, or does
// not say what it belongs to.
func (s *Session) currentLocked(c string) bool {
	f := strings.Fields(c)
	at := slices.Index(f, "ufrag")
	return at < 0 || at+1 >= len(f) || slices.Contains(s.fragments, f[at+1])
}

// AddCandidate takes an address of the peer, as its [Candidate] event gave it,
// also before the SDP is there. It fails with [ErrSignal] if the candidate is
// malformed or the peer sent too many.
func (s *Session) AddCandidate(c string) error {
	if err := checkCandidate(c); err != nil {
		return err
	}
	s.mu.Lock()
	s.candidates++
	switch {
	case s.closed:
		s.mu.Unlock()
		return fmt.Errorf("add candidate: %w", ErrClosed)
	case s.candidates > MaxCandidates:
		s.mu.Unlock()
		return fmt.Errorf("more than %d candidates: %w", MaxCandidates, ErrSignal)
	case !s.remoteSet, !s.currentLocked(c):
		// The library would drop one that came before the SDP of its restart.
		if len(s.pending) < MaxCandidates {
			s.pending = append(s.pending, c)
		}
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if err := s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c}); err != nil {
		return fmt.Errorf("add candidate: %w", ErrSignal)
	}
	return nil
}

// Restart makes an offer that looks for a new path, after a change of network or
// a lost connection; keys, certificate and media stay. The peer answers it by
// [Session.Accept]. Either side may restart; if both do at once, the callee's
// has to give way.
func (s *Session) Restart(ctx context.Context) (sdp string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("restart: %w", err)
	}
	s.mu.Lock()
	s.candidates = 0
	s.mu.Unlock()
	return s.offer(&webrtc.OfferOptions{ICERestart: true})
}

// SetServers replaces the media servers: their credentials live shorter than a
// call may. A restart, of either side, gathers from the new ones.
func (s *Session) SetServers(list []ICEServer) error {
	c := s.pc.GetConfiguration()
	c.ICEServers = iceServers(list)
	if err := s.pc.SetConfiguration(c); err != nil {
		return fmt.Errorf("media servers: %w", err)
	}
	return nil
}

// onCandidate passes a candidate of ours on. With relays only, nothing that
// names this host leaves.
func (s *Session) onCandidate(c *webrtc.ICECandidate) {
	if c == nil {
		s.post(CandidatesDone{})
		return
	}
	text := c.ToJSON().Candidate
	if s.options.RelayOnly {
		hidden, relayed := hideBase(text)
		if !relayed {
			return
		}
		text = hidden
	}
	s.post(Candidate{SDP: text})
}

// onState follows the connection. The certificate is compared at every new
// connection, before the first packet of media is sent or read.
//
// pion calls each time from a goroutine of its own: what counts is the state at
// the time of the call, once.
func (s *Session) onState(webrtc.PeerConnectionState) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	state := s.connection()
	if state == s.state || s.ctx.Err() != nil {
		return
	}
	s.state = state
	switch state {
	case webrtc.PeerConnectionStateConnected:
		s.onConnected()
	case webrtc.PeerConnectionStateDisconnected:
		s.mu.Lock()
		s.markDownLocked()
		s.mu.Unlock()
		s.post(Disconnected{})
	case webrtc.PeerConnectionStateFailed:
		s.mu.Lock()
		s.markDownLocked()
		s.mu.Unlock()
		if !s.certificateIsAnnounced() {
			s.fail(ErrFingerprint)
			return
		}
		s.post(Failed{Err: errNoPath})
	case webrtc.PeerConnectionStateClosed:
		// The peer's end of DTLS closes the connection too, perhaps before its
		// refused certificate was told of. A peer that hangs up says so by a signal,
		// which may be lost.
		s.mu.Lock()
		s.markDownLocked()
		s.mu.Unlock()
		if !s.certificateIsAnnounced() {
			s.fail(ErrFingerprint)
			return
		}
		s.post(Closed{})
	}
}

// connection is the state of the connection. pion's own is made of ICE's and
// DTLS's by whichever of them changes, and an older pair may come last; so it is
// taken from both here.
func (s *Session) connection() webrtc.PeerConnectionState {
	state, transport := s.pc.ConnectionState(), s.transport()
	if transport == nil || state == webrtc.PeerConnectionStateClosed {
		return state
	}
	ice, dtls := s.pc.ICEConnectionState(), transport.State()
	switch {
	case ice == webrtc.ICEConnectionStateFailed || dtls == webrtc.DTLSTransportStateFailed:
		return webrtc.PeerConnectionStateFailed
	case ice == webrtc.ICEConnectionStateDisconnected:
		return webrtc.PeerConnectionStateDisconnected
	case (ice == webrtc.ICEConnectionStateConnected || ice == webrtc.ICEConnectionStateCompleted) && dtls == webrtc.DTLSTransportStateConnected:
		return webrtc.PeerConnectionStateConnected
	}
	return state
}

// watchEvery is how long a change that pion does not tell of may go unnoticed.
const watchEvery = 500 * time.Millisecond

// watch looks at the connection now and then, until the session ends.
func (s *Session) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.onState(0)
		case <-s.ctx.Done():
			return
		}
	}
}

// certificateIsAnnounced compares what DTLS saw with what the ratchet said; it
// is also true while DTLS has seen nothing.
func (s *Session) certificateIsAnnounced() bool {
	transport := s.transport()
	if transport == nil {
		return true
	}
	seen := transport.GetRemoteCertificate()
	if len(seen) == 0 {
		return true
	}
	sum := sha256.Sum256(seen)
	s.mu.Lock()
	defer s.mu.Unlock()
	return subtle.ConstantTimeCompare(sum[:], s.fingerprint) == 1
}

// markDownLocked ends the time that the connection stood.
func (s *Session) markDownLocked() {
	if !s.up.IsZero() {
		s.upFor += time.Since(s.up)
		s.up = time.Time{}
	}
}

func (s *Session) onConnected() {
	transport := s.transport()
	if transport == nil {
		return
	}
	sum := sha256.Sum256(transport.GetRemoteCertificate())
	pair := s.pairType(transport.ICETransport())
	s.mu.Lock()
	if subtle.ConstantTimeCompare(sum[:], s.fingerprint) != 1 {
		s.verified = false
		s.mu.Unlock()
		s.fail(ErrFingerprint)
		return
	}
	s.verified = true
	s.pair = pair
	if s.up.IsZero() {
		s.up = time.Now()
	}
	s.startFlowLocked()
	s.mu.Unlock()
	s.post(Connected{Pair: pair})
}

// fail tells why, and ends the connection and what hangs on it; Close is still
// the owner's.
func (s *Session) fail(err error) {
	s.post(Failed{Err: err})
	s.cancel()
	if err := s.pc.Close(); err != nil {
		s.log.Debug("close the connection", "error", err)
	}
}

// transport is the one DTLS transport of the bundle.
func (s *Session) transport() *webrtc.DTLSTransport {
	for _, t := range s.pc.GetTransceivers() {
		if r := t.Receiver(); r != nil && r.Transport() != nil {
			return r.Transport()
		}
		if x := t.Sender(); x != nil && x.Transport() != nil {
			return x.Transport()
		}
	}
	return nil
}

func (s *Session) pairType(t *webrtc.ICETransport) PairType {
	pair, err := t.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return Direct
	}
	if pair.Local.Typ == webrtc.ICECandidateTypeRelay || pair.Remote.Typ == webrtc.ICECandidateTypeRelay {
		return Relayed
	}
	return Direct
}
