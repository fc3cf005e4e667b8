package localapi

import (
	"context"

	"secmsg/rpc/local"
)

// hello answers daemon.hello without access to the disk or an account, so that a caller can
// tell a busy daemon from one that hangs.
func (c *conn) hello(req local.Request) {
	p, err := decode[local.HelloParams](req.Params)
	if err != nil {
		c.failed(req, err)
		return
	}
	c.resumes.Store(p.Resumes)
	c.answer(req.ID, c.s.backend.Hello())
}

// stop answers daemon.stop. It answers before it calls Stop, which ends this connection.
func (c *conn) stop(ctx context.Context, req local.Request) {
	p, err := decode[local.StopParams](req.Params)
	if err == nil && p.IfIdle {
		err = c.s.checkIdle(ctx, c)
	}
	if err != nil {
		c.failed(req, err)
		return
	}
	c.s.logger.Info("stopped by a command", "if_idle", p.IfIdle)
	c.answer(req.ID, local.Empty{})
	c.s.backend.Stop()
}

// checkIdle returns an error with the code refused if the end of the daemon would disturb
// anybody but the asking caller.
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
		return local.Errorf(local.CodeRefused, "it is serving other commands (%d)", others)
	}
	return s.backend.CheckIdle(ctx)
}

// enter and leave keep the set of open connections.
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
