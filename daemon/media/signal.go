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

// Offer returns the caller's offer and the fingerprint of its certificate, and starts to
// gather candidates.
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

// ownFingerprint returns the SHA-256 hash of this call's certificate.
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

// Accept applies the caller's offer, or its offer of a restart, and returns the answer. It
// is the callee's consent to connect: it starts to gather candidates, and the peer learns
// addresses of this host unless only relays are used. It fails with [ErrSignal] if the
// offer is malformed, and with [ErrRefused] if neither side sends anything that the other
// accepts.
func (s *Session) Accept(ctx context.Context, remoteSDP string, remoteFingerprint []byte) (answerSDP string, fingerprint []byte, err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, fmt.Errorf("accept offer: %w", err)
	}
	if err := s.setRemote(webrtc.SDPTypeOffer, remoteSDP, remoteFingerprint, s.matchOffer); err != nil {
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

// refuseUnwanted stops the transceivers that pion created for sections without a source or
// sink here.
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

// Answer applies the callee's answer, including one to a restart. It fails with [ErrSignal]
// if the answer is malformed, and with [ErrRefused] if it refuses everything.
func (s *Session) Answer(remoteSDP string, remoteFingerprint []byte) error {
	if err := s.setRemote(webrtc.SDPTypeAnswer, remoteSDP, remoteFingerprint, s.matchAnswer); err != nil {
		return fmt.Errorf("take answer: %w", err)
	}
	return nil
}

// matchOffer adds the callee's sections: one for each source whose codec the offer accepts,
// and one for each destination that accepts the offered media. Anything else is refused
// for that kind only. A restart changes nothing.
func (s *Session) matchOffer(offer []section) error {
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
			s.post(Notice{Text: fmt.Sprintf("the peer sends %s in %s, which the destination cannot store (%s), so it is not received",
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

// matchAnswer records the media refused by the callee's answer.
func (s *Session) matchAnswer(answer []section) error {
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

// refuseSource records that the peer does not accept a source's media.
func (s *Session) refuseSource(kind Kind) {
	out := s.out[kind]
	s.refused[out] = true
	close(out.unwanted)
}

// anythingLeft fails if nothing will be sent in either direction.
func (s *Session) anythingLeft() error {
	if len(s.refused) < len(s.out)+len(s.in) {
		return nil
	}
	return fmt.Errorf("neither side accepts what the other sends: %w", ErrRefused)
}

// codecList lists codecs for users.
func codecList(list []Codec) string {
	if len(list) == 0 {
		return "an unknown codec"
	}
	var names []string
	for _, c := range list {
		names = append(names, string(c))
	}
	return strings.Join(names, " or ")
}

// setRemote applies the peer's SDP with the trusted fingerprint, and then the candidates
// received before it. agree gets the sections of an offer before it is applied, and those
// of an answer afterwards.
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
		return fmt.Errorf("the fingerprint changed within one call: %w", ErrFingerprint)
	}
	s.fingerprint = slices.Clone(fingerprint)
	if kind == webrtc.SDPTypeOffer && s.remoteSet {
		s.candidates = 0 // a restart by the peer
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
			s.log.Debug("peer's candidate rejected")
		}
	}
	return nil
}

// currentLocked reports whether a candidate belongs to the present remote SDP, or does not
// say which one it belongs to.
func (s *Session) currentLocked(c string) bool {
	f := strings.Fields(c)
	at := slices.Index(f, "ufrag")
	return at < 0 || at+1 >= len(f) || slices.Contains(s.fragments, f[at+1])
}

// AddCandidate adds a candidate of the peer, from its [Candidate] event, possibly before
// the SDP. It fails with [ErrSignal] if the candidate is malformed or the peer has sent too
// many.
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
		// Keep one that arrives before the SDP of its restart: pion would drop it.
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

// Restart returns an offer for a new path, after a change of network or a lost connection.
// Keys, certificate and media stay. The peer passes it to [Session.Accept]. Either side may
// restart; if both do at once, the callee's offer must be dropped.
func (s *Session) Restart(ctx context.Context) (sdp string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("restart: %w", err)
	}
	s.mu.Lock()
	s.candidates = 0
	s.mu.Unlock()
	return s.offer(&webrtc.OfferOptions{ICERestart: true})
}

// SetServers replaces the media servers, since their credentials may expire during a call.
// A restart by either side uses the new ones.
func (s *Session) SetServers(list []ICEServer) error {
	c := s.pc.GetConfiguration()
	c.ICEServers = iceServers(list)
	if err := s.pc.SetConfiguration(c); err != nil {
		return fmt.Errorf("media servers: %w", err)
	}
	return nil
}

// onCandidate posts a local candidate. With RelayOnly, no address of this host is revealed.
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

// onState follows the connection's state. It verifies the certificate at every new
// connection, before the first media packet is sent or read.
//
// pion calls it from a new goroutine each time, so it reads the present state and handles
// each change once.
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
		// The peer's end of DTLS also closes the connection, possibly before a certificate
		// mismatch was reported. A peer that hangs up also sends an end signal, which may
		// be lost.
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

// connection computes the connection's state from the states of ICE and DTLS. pion's own
// state is updated by whichever of the two changes, and may end with an outdated
// combination.
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

// watchEvery bounds how long a state change that pion does not report may go unnoticed.
const watchEvery = 500 * time.Millisecond

// watch checks the connection's state periodically until the session ends.
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

// certificateIsAnnounced compares the DTLS certificate with the announced fingerprint. It
// returns true if there is no certificate yet.
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

// markDownLocked adds the time of the current connection to the total.
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

// fail reports an error and closes the connection. The owner still calls Close.
func (s *Session) fail(err error) {
	s.post(Failed{Err: err})
	s.cancel()
	if err := s.pc.Close(); err != nil {
		s.log.Debug("close the connection", "error", err)
	}
}

// transport returns the DTLS transport of the bundle.
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
