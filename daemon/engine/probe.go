package engine

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"secmsg/daemon/codes"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// probe is a status check on its way to the server and back.
type probe struct {
	content []byte
	sent    time.Time
	done    chan probeEnd // holds one
}

type probeEnd struct {
	round time.Duration
	err   *local.Error
}

// probes are the probes that have not come back. They belong to the actor.
type probes map[store.MessageID]*probe

// failAll ends all probes.
func (p probes) failAll(err *local.Error) {
	for _, x := range p {
		x.fail(err)
	}
}

// answered takes the relay's answer to a probe. Only a refusal ends it: one that was
// accepted comes back.
func (p probes) answered(r link.Result) {
	if x := p[r.MessageID]; x != nil && !r.Accepted {
		x.fail(local.Errorf(local.CodeUnreachable, "the server refused the probe: %s", r.Reason))
	}
}

// end gives a probe its outcome. Later outcomes are ignored.
func (p *probe) end(x probeEnd) {
	select {
	case p.done <- x:
	default:
	}
}

func (p *probe) fail(err *local.Error) { p.end(probeEnd{err: err}) }

// Check sends a probe sealed to this device's own key through the server and
// back. It is never shown and never kept.
func (e *Engine) Check(ctx context.Context) local.CheckResult {
	out := local.CheckResult{Name: e.self.User}
	id, err := history.NewID()
	if err != nil {
		out.Error = local.As(err)
		return out
	}
	p := &probe{done: make(chan probeEnd, 1)}
	if err := e.Connect(ctx, StageReplica); err != nil {
		out.Error = local.As(codes.Local(err))
		return out
	}
	if err := e.Reachable(ctx); err != nil {
		out.Error = local.As(codes.Local(err))
		return out
	}
	if err := e.do(ctx, func() error { return e.launch(id, p) }); err != nil {
		out.Error = local.As(codes.Local(err))
		return out
	}
	timer := time.NewTimer(e.cfg.ProbeTimeout)
	defer timer.Stop()
	var end probeEnd
	select {
	case end = <-p.done:
	case <-timer.C:
		end.err = local.Errorf(local.CodeUnreachable, "the probe did not return within %s", e.cfg.ProbeTimeout)
	case <-ctx.Done():
		end.err = local.Errorf(local.CodeInterrupted, "interrupted")
	case <-e.quit:
		end.err = errStopped
	}
	err = e.do(context.Background(), func() error {
		delete(e.probes, id)
		return nil
	})
	if err != nil {
		e.logger.Debug("end of a probe", "error", err)
	}
	out.OK, out.Error = end.err == nil, end.err
	out.RoundMS = float64(end.round) / float64(time.Millisecond)
	return out
}

// launch sends the probe.
func (e *Engine) launch(id store.MessageID, p *probe) error {
	if !e.up {
		return e.Away()
	}
	type sealed struct {
		steps, version      uint64
		ciphertext, content []byte
	}
	s, err := inView(e.storeCtx(), e, func(tx *store.Tx) (s sealed, err error) {
		if _, s.version, err = e.trust.OwnDevices(tx, e.account); err != nil {
			return s, err
		}
		if s.steps, err = tx.Steps(e.account); err != nil {
			return s, err
		}
		s.ciphertext, s.content, err = e.keys.ProbeSeal(tx, e.account, id)
		return s, err
	})
	if err != nil {
		return err
	}
	e.probes[id] = p
	p.content, p.sent = s.content, time.Now()
	e.window.put(s.steps, &wire.Outgoing{
		MessageId: id[:], Class: wire.Class_CLASS_PROBE, Recipient: e.self.User, Device: e.device[:],
		ManifestVersion: s.version, Ciphertext: s.ciphertext,
	})
	return nil
}

// receiveProbe matches a probe by its id, sender and content.
func (e *Engine) receiveProbe(tx *store.Tx, in *incoming) error {
	p := e.probes[in.id]
	if p == nil || in.addr != e.self || in.device != e.device {
		return tx.Count(e.account, countProbe)
	}
	content, err := e.keys.ProbeOpen(tx, e.account, in.id, in.cipher)
	if errors.Is(err, keyring.ErrUndecryptable) || err == nil && subtle.ConstantTimeCompare(content, p.content) == 0 {
		return tx.Count(e.account, countProbe)
	}
	if err != nil {
		return err
	}
	round := time.Since(p.sent)
	tx.OnCommit(func() { p.end(probeEnd{round: round}) })
	return nil
}
