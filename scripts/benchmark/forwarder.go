package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// forwarderCommand runs the reference in a separate process, so that its CPU time can be distinguished
// from the load generator's.
const forwarderCommand = "forwarder"

// forwarder is the simplest possible relay: it copies each frame from one WebSocket to another, with
// the defaults of gorilla/websocket, and stores, checks and orders nothing. It joins the paths /a/N and
// /b/N; /echo answers.
type forwarder struct {
	up websocket.Upgrader

	mu    sync.Mutex
	peers map[string]chan *websocket.Conn // guarded by mu; by path
}

func runForwarder(ctx context.Context, args []string, stdout io.Writer) error {
	f := flag.NewFlagSet(forwarderCommand, flag.ContinueOnError)
	cert, key := f.String("cert", "", "PEM certificate"), f.String("key", "", "PEM key")
	if err := f.Parse(args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	fw := &forwarder{peers: map[string]chan *websocket.Conn{}}
	srv := &http.Server{Handler: fw, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if _, err := fmt.Fprintln(stdout, ln.Addr()); err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	if err := srv.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("forwarder: %w", err)
	}
	return nil
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := f.up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	peer := ws
	if r.URL.Path != "/echo" {
		f.slot(r.URL.Path) <- ws
		other := strings.NewReplacer("/a/", "/b/", "/b/", "/a/").Replace(r.URL.Path)
		select {
		case peer = <-f.slot(other):
		case <-r.Context().Done():
			return
		}
	}
	defer peer.Close()
	for {
		typ, b, err := ws.ReadMessage()
		if err != nil || peer.WriteMessage(typ, b) != nil {
			return
		}
	}
}

// slot holds the connection of a path until the other side takes it.
func (f *forwarder) slot(path string) chan *websocket.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peers[path] == nil {
		f.peers[path] = make(chan *websocket.Conn, 1)
	}
	return f.peers[path]
}
