package localapi

import (
	"context"

	"secmsg/rpc/local"
)

// hello answers daemon.hello. It asks neither the disk nor an account, so that
// a caller can tell a daemon that is busy from one that hangs.
func (c *conn) hello(req local.Request) {
	p, err := decode[local.HelloParams](req.Params)
	if err != nil {
		c.failed(req, err)
		return
	}
	c.resumes.Store(p.Resumes)
	c.answer(req.ID, c.s.backend.Hello())
}

// stop answers daemon.stop. The answer comes first: what Stop sets off ends this
// connection.
func (c *conn) stop(ctx context.Context, req local.Request) {
	p, err := decode[local.StopParams](req.Params)
	if err == nil && p.IfIdle {
		err = c.s.checkIdle(ctx, c)
	}
	if err != nil {
		c.failed(req, err)
		return
	}
	c.s.logger.Info("a caller has stopped the daemon", "if_idle", p.IfIdle)
	c.answer(req.ID, local.Empty{})
	c.s.backend.Stop()
}

// checkIdle returns an error of code refused if the end of the daemon would
// disturb anybody but the caller that asks.
func (s *server) checkIdle(ctx context.Context, asking *conn) error {
	s.mu.Lock()
	others := 0
	for c := range s.conns {
		if c != asking && !c.resumes.Load() {
			others++
		}
	}
	s.mu.Unlock()
	if others > 0 {
		return local.Errorf(local.CodeRefused, "it serves other commands (%d)", others)
	}
	return s.backend.CheckIdle(ctx)
}

// enter and leave count a connection among those of the server.
func (s *server) enter(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}
