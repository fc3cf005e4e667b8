package files

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/google/uuid"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// maxReason bounds the text of an error in bytes.
const maxReason = 300

// whyWaiting returns the error that a caller sees while a transfer waits.
func (s *Service) whyWaiting(err error) *local.Error {
	var told *local.Error
	switch {
	case isFull(err):
		told = local.Errorf(local.CodeDiskFull, "no space left: %v", err)
	case errors.Is(err, errNoSpace):
		told = local.Errorf(local.CodeDiskFull, "%v", err)
	case errors.Is(err, errNotNow):
		told = local.Errorf(local.CodeUntrusted, "%v", err)
	case errors.Is(err, errSpool), unwritable(err):
		told = local.Errorf(local.CodeIO, "%v", err)
	default:
		if e, ok := errors.AsType[*local.Error](err); ok {
			return e
		}
		if told = s.o.Explain(err); told == nil {
			told = local.Errorf(local.CodeUnreachable, "%v", err)
		}
	}
	if len(told.Message) > maxReason {
		told.Message = strings.ToValidUTF8(told.Message[:maxReason], "") + "..."
	}
	return told
}

// waits records why an upload waits, and logs each new reason.
func (u *upload) waits(err error) {
	why := u.s.whyWaiting(err)
	u.track.waits(why.Message)
	u.s.mu.Lock()
	was := u.s.why[u.id]
	u.s.why[u.id] = why
	u.s.mu.Unlock()
	if was == nil || was.Message != why.Message {
		u.s.o.Logger.Warn("upload is waiting", "transfer", u.id, "error", err)
	}
}

// proceeds records that an upload proceeds.
func (u *upload) proceeds() {
	u.track.setPhase(local.PhaseSending)
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	delete(u.s.why, u.id)
}

// Waiting returns the reasons why unwatched transfers wait, by the ids of their files and
// of the messages with those files.
func (s *Service) Waiting(ctx context.Context) (map[string]*local.Error, error) {
	out := make(map[string]*local.Error)
	s.mu.Lock()
	uploads := maps.Clone(s.why)
	for id, p := range s.paused {
		if p.why != nil {
			out[uuid.UUID(id).String()] = p.why
		}
	}
	s.mu.Unlock()
	if len(uploads) == 0 {
		return out, nil
	}
	err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		for id, why := range uploads {
			list, err := tx.FilesByTransfer(s.o.Account, id)
			if err != nil {
				return err
			}
			for _, f := range list {
				if f.State == store.FileSending {
					out[uuid.UUID(f.ID).String()], out[uuid.UUID(f.Message).String()] = why, why
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read why transfers wait: %w", err)
	}
	return out, nil
}
