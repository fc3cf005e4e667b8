package relay

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
)

const (
	// readBuffer and writeBuffer are gorilla's buffers for a connection. An idle connection keeps the first, so it is
	// small; the second comes from a pool and has the size of a TLS record.
	readBuffer  = 512
	writeBuffer = 16 << 10
	// protocolHeader names the protocol version of a request (rpc/PROTOCOL.md).
	protocolHeader = "Secmsg-Protocol"
	// handshakeTimeout bounds writing the response to the upgrade.
	handshakeTimeout = 10 * time.Second
	// maxSockets bounds a device's open, opening and closing connections. A device uses two; a network that loses
	// answers leaves a few more open. Without the bound, one token could use up the server's file descriptors.
	maxSockets = 16
)

func newUpgrader(c *counters) websocket.Upgrader {
	return websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout,
		ReadBufferSize:   0, // uses the buffer of quietWriter
		WriteBufferSize:  writeBuffer,
		WriteBufferPool:  new(sync.Pool),
		// Compression is never negotiated: the lengths would reveal something about the contents, and inputs of 1 KiB
		// could grow to megabytes.
		EnableCompression: false,
		// Only browsers send Origin, and no web page speaks this protocol.
		CheckOrigin: func(req *http.Request) bool { return req.Header.Get("Origin") == "" },
		Error: func(w http.ResponseWriter, _ *http.Request, status int, _ error) {
			c.refused.Add(1)
			code := wire.CodeMalformed
			if status == http.StatusForbidden {
				code = wire.CodeForbidden
			}
			writeError(w, status, code, "not a WebSocket request of this protocol")
		},
	}
}

// upgrade authenticates a request, upgrades it to a WebSocket, and serves that on its own goroutine, so that the HTTP
// server's memory for the request is freed.
func (r *Relay) upgrade(w http.ResponseWriter, req *http.Request, role wire.Role, open func(*socket) conn) {
	refuse := func(status int, code wire.Code, text string) {
		r.counters.refused.Add(1)
		writeError(w, status, code, text)
	}
	if len(req.Header["Origin"]) > 0 {
		refuse(http.StatusForbidden, wire.CodeForbidden, "browsers are not served")
		return
	}
	if v := req.Header.Get(protocolHeader); v != "" && v != strconv.Itoa(wire.ProtocolVersion) {
		refuse(http.StatusUpgradeRequired, wire.CodeVersion, "this server speaks protocol 1")
		return
	}
	if r.since()-time.Duration(r.lastPoll.Load()) > r.limits.StoreGrace+r.limits.Revocations {
		refuse(http.StatusServiceUnavailable, wire.CodeUnavailable, "the server cannot serve this now")
		return
	}
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		refuse(http.StatusUnauthorized, wire.CodeUnauthorized, "a token is needed")
		return
	}
	account, device, err := r.tokens.Verify(req.Context(), token, role)
	if err != nil {
		r.log.Debug("upgrade refused", "role", role, "error", err)
		refuse(http.StatusUnauthorized, wire.CodeUnauthorized, "the token is not valid")
		return
	}
	if !r.reserve(device) {
		refuse(http.StatusTooManyRequests, wire.CodeRateLimited, "this device has too many connections")
		return
	}
	quiet := &quietWriter{ResponseWriter: w}
	ws, err := r.upgrader.Upgrade(quiet, req, nil)
	if err != nil {
		r.unreserve(device)
		r.log.Debug("upgrade failed", "role", role, "error", err)
		return
	}
	s := newSocket(r, ws, account, device)
	s.reader, s.quiet, s.shallow = quiet.reader, quiet.quiet, quiet.shallow
	c := open(s)
	s.source = c
	if !r.add(s) {
		r.unreserve(device)
		s.kill()
		return
	}
	r.counters.opened(role)
	go func() {
		defer r.conns.Done()
		defer r.counters.ended(role)
		defer close(s.done)
		defer r.remove(s)
		defer s.kill()
		c.serve()
	}()
}

// writeError writes the error body that all failed calls share.
func writeError(w http.ResponseWriter, status int, code wire.Code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error means that the peer is gone; nobody else needs to know.
	_ = json.NewEncoder(w).Encode(wire.ErrorBody{Error: &wire.Error{Code: code, Message: text}})
}
