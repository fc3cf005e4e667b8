package link

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"secmsg/crypto/identity"
	"secmsg/rpc/wire"
)

const (
	// maxRealm bounds the bytes read from a connection before its server has proved its
	// realm: two certificates, the statement and HTTP headers.
	maxRealm = 64 << 10
	// clockTolerance is the difference of the clocks from which on an expired statement is
	// attributed to the clock.
	clockTolerance = time.Hour
	// protocolHeader has the protocol version in every request.
	protocolHeader = "Secmsg-Protocol"
	pathRealm      = "/v1/realm"
)

// Realm is the verified realm of a server.
type Realm struct {
	// Root is the realm's root certificate; its fingerprint is the pinned one.
	Root *x509.Certificate
	// Statement is the verified realm statement.
	Statement identity.RealmStatement
	// ServerTime is the server's clock. Only the connection authenticates it.
	ServerTime time.Time
}

// FetchRealm connects to a server, verifies its proof and returns its realm. It fails with
// [ErrUntrusted] if the proof is invalid, or with [ErrUnreachable].
func FetchRealm(ctx context.Context, e Endpoint) (Realm, error) {
	conn, realm, err := e.dial(ctx)
	if err != nil {
		return Realm{}, err
	}
	_ = conn.Close() // nothing was written
	return realm, nil
}

func (e Endpoint) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

// address returns HOST:PORT and the host that the certificate must cover.
func (e Endpoint) address() (hostPort, host string) {
	if h, _, err := net.SplitHostPort(e.Server); err == nil {
		return e.Server, h
	}
	host = e.Server
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return net.JoinHostPort(host, identity.DefaultPort), host
}

// dial returns a TLS connection on which the server has proved that it belongs to the
// pinned realm, ready for the next HTTP request (rpc/PROTOCOL.md, section 1).
func (e Endpoint) dial(ctx context.Context) (*tls.Conn, Realm, error) {
	timing := e.Timing.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, timing.Dial)
	defer cancel()
	hostPort, host := e.address()
	raw, err := e.connect(ctx, hostPort)
	if err != nil {
		return nil, Realm{}, dialError(ctx, hostPort, phaseConnect, err)
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The hybrid is preferred; the others are for proxies without it.
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256},
		ServerName:       host,
		NextProtos:       []string{"http/1.1"},
		// The standard verification requires a chain to a known root. Ours needs the
		// realm's root, which comes with the statement on this connection; checkPeer does
		// it before anything else is sent.
		InsecureSkipVerify: true,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, Realm{}, dialError(ctx, hostPort, phaseTLS, fmt.Errorf("tls handshake: %w", err))
	}
	realm, err := e.prove(ctx, conn, hostPort, host)
	if err != nil {
		_ = conn.Close()
		return nil, Realm{}, dialError(ctx, hostPort, phaseRealm, err)
	}
	return conn, realm, nil
}

func (e Endpoint) prove(ctx context.Context, conn *tls.Conn, hostPort, host string) (Realm, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	body, err := fetchRealmBody(ctx, conn, hostPort)
	if err != nil {
		return Realm{}, err
	}
	var w wire.Realm
	if err := json.Unmarshal(body, &w); err != nil {
		return Realm{}, fmt.Errorf("realm statement: %w: %w", ErrProtocol, err)
	}
	if err := w.Check(); err != nil {
		return Realm{}, fmt.Errorf("realm statement: %w: %w", ErrProtocol, err)
	}
	if w.Protocol != wire.ProtocolVersion {
		return Realm{}, &wire.Error{Code: wire.CodeVersion,
			Message: fmt.Sprintf("the server speaks protocol version %d, this program %d", w.Protocol, wire.ProtocolVersion)}
	}
	now := e.now()
	realm, err := e.checkRealm(w, now)
	if err != nil {
		return Realm{}, untrusted(err, now, w.TimeMS)
	}
	if err := checkPeer(conn.ConnectionState(), realm, w.Issuing, host, now); err != nil {
		return Realm{}, untrusted(err, now, w.TimeMS)
	}
	if !stop() {
		return Realm{}, context.Cause(ctx)
	}
	return realm, conn.SetDeadline(time.Time{})
}

// untrusted wraps err, and adds the offset of the clocks if that may be the reason.
func untrusted(err error, now time.Time, serverMS int64) error {
	offset := now.Sub(time.UnixMilli(serverMS))
	if identity.IsValidity(err) && offset.Abs() > clockTolerance {
		return fmt.Errorf("%w: %w: %w", ErrUntrusted, &ClockError{Offset: offset}, err)
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, err)
}

// fetchRealmBody requests the realm statement as the first request on conn, and leaves the
// connection ready for the next one.
func fetchRealmBody(ctx context.Context, conn net.Conn, hostPort string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+hostPort+pathRealm, nil)
	if err != nil {
		return nil, fmt.Errorf("realm statement: %w", err)
	}
	req.Header.Set(protocolHeader, strconv.Itoa(wire.ProtocolVersion))
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("request the realm statement: %w", err)
	}
	br := bufio.NewReader(io.LimitReader(conn, maxRealm))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, fmt.Errorf("read the realm statement: %w", notHTTP(err))
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // ReadAll has read everything
	if err != nil {
		return nil, fmt.Errorf("read the realm statement: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errorOf(resp.StatusCode, body)
	}
	if resp.Close || br.Buffered() != 0 {
		return nil, fmt.Errorf("%w: connection is not reusable after the realm statement", ErrProtocol)
	}
	return body, nil
}

// notHTTP marks an answer that is not HTTP. It returns connection errors unchanged.
func notHTTP(err error) error {
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrProtocol, err)
}

// checkRealm verifies root, issuing certificate and statement against the pin.
func (e Endpoint) checkRealm(w wire.Realm, now time.Time) (Realm, error) {
	if sha256.Sum256(w.Root) != e.Realm {
		return Realm{}, errors.New("the realm's root certificate has a different fingerprint")
	}
	root, err := x509.ParseCertificate(w.Root)
	if err != nil {
		return Realm{}, fmt.Errorf("realm root: %w", err)
	}
	st, err := identity.VerifyStatement(root, w.Issuing, w.Statement, now)
	if err != nil {
		return Realm{}, fmt.Errorf("realm statement: %w", err)
	}
	if e.Domain != "" && st.Domain != e.Domain {
		return Realm{}, fmt.Errorf("realm statement: %w", identity.ErrName)
	}
	return Realm{Root: root, Statement: st, ServerTime: time.UnixMilli(w.TimeMS)}, nil
}

// checkPeer accepts a connection whose leaf certificate chains to the realm's root and
// covers host, or whose key is listed in the statement. System roots are not used.
func checkPeer(cs tls.ConnectionState, realm Realm, issuing []byte, host string, now time.Time) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	if slices.Contains(realm.Statement.TLSKeys, identity.TLSKeyHash(leaf)) {
		return nil
	}
	// The server may have sent an issuing certificate of another generation, so add the one
	// that came with the statement.
	chain := slices.Clone(cs.PeerCertificates[:min(len(cs.PeerCertificates), identity.MaxServerChain-1)])
	if ca, err := x509.ParseCertificate(issuing); err == nil {
		chain = append(chain, ca)
	}
	if err := identity.VerifyServer(realm.Root, chain, host, now); err != nil {
		return fmt.Errorf("tls certificate: %w", err)
	}
	return nil
}
