package localapi

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"secmsg/rpc/local"
)

const (
	// refuseAccept is how long Refuse waits for another caller. Its callers are already
	// connected: the service manager started the daemon because of them.
	refuseAccept = 100 * time.Millisecond
	// refuseRead bounds the wait for such a caller's first line.
	refuseRead = time.Second
)

// Refuse answers the callers that wait on ln with the error why. A daemon that was started
// through a service manager's socket but cannot serve calls it, because otherwise the
// service manager would keep those callers waiting. It leaves ln open, without a deadline.
func Refuse(ln *net.UnixListener, why *local.Error, logger *slog.Logger) {
	s := &server{ctx: context.Background(), logger: logger}
	var callers sync.WaitGroup
	defer callers.Wait()
	defer func() { _ = ln.SetDeadline(time.Time{}) }()
	for range maxConns {
		if err := ln.SetDeadline(time.Now().Add(refuseAccept)); err != nil {
			return
		}
		uc, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		callers.Go(func() {
			defer uc.Close()
			if local.CheckPeer(uc) != nil || uc.SetDeadline(time.Now().Add(refuseRead)) != nil {
				return
			}
			line, err := local.ReadLine(bufio.NewReaderSize(uc, readBuffer), local.MaxRequest)
			if err != nil {
				return
			}
			c := newConn(s, uc)
			req, _ := c.parse(line) // the method does not matter
			c.fail(req.ID, local.RPCFailed, why)
		})
	}
}
