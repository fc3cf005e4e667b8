package files

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Permanent errors are not retried forever, and the message's result gives the reason.
func TestConditionsThatStay(t *testing.T) {
	for _, tt := range []struct {
		name string
		put  error
		make error
		want string // part of the reason
		most int32  // bound on the number of tries
	}{
		{"a proxy takes no such body", &wire.Error{Code: wire.CodeTooLarge, Message: "413"}, nil, "413", 1},
		{"a proxy answers nonsense", fmt.Errorf("%w: status 405", ErrAnswer), nil, "405", lastingTries},
		{"no ticket is ever good", fmt.Errorf("%w: the store refused it", ErrTicket), nil, "the store refused it", lastingTries},
		{"nonsense from the start", nil, fmt.Errorf("%w: status 418", ErrAnswer), "418", lastingTries},
		{"the quota", nil, &wire.Error{Code: wire.CodeQuota, Message: "used up"}, "used up", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var tries atomic.Int32
			w.blobs.create = func() error {
				if tt.make != nil {
					tries.Add(1)
				}
				return tt.make
			}
			w.blobs.put = func(context.Context, int) error {
				tries.Add(1)
				return tt.put
			}
			w.start()
			defer w.skipWaits()()
			f := w.wait(w.send(w.source("f", 100)), store.FileFailed)
			if !strings.Contains(f.Reason, tt.want) {
				t.Errorf("reason %q", f.Reason)
			}
			if n := tries.Load(); n > tt.most {
				t.Errorf("%d tries", n)
			}
		})
	}
}

// A spool that is not writable ends an upload; a full disk does not. Both give a reason.
func TestSpoolThatCannotBeWritten(t *testing.T) {
	u := &upload{s: New(Options{})}
	u.s.Reached()
	ctx, cancel := context.WithCancel(t.Context())
	err := u.retryLocal(ctx, func() error { return fmt.Errorf("spool: %w", syscall.EROFS) })
	if f, ok := errors.AsType[*failure](err); !ok || f.reason != store.ReasonFileSpool {
		t.Errorf("read-only: %v", err)
	}
	tries := 0
	err = u.retryLocal(ctx, func() error {
		if tries++; tries > 1 {
			cancel()
		}
		return fmt.Errorf("spool: %w", syscall.ENOSPC)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("full: %v", err)
	}
	if why := u.s.why[0]; why == nil || why.Code != local.CodeDiskFull {
		t.Errorf("full: %v", why)
	}
}

// The reason why a transfer waits can be queried, by its file and by its message, and its
// waiting caller sees it. When the transfer proceeds there is no reason.
func TestWhyATransferWaits(t *testing.T) {
	w := newWorld(t)
	refuse := make(chan struct{})
	w.blobs.put = func(ctx context.Context, _ int) error {
		select {
		case <-refuse:
			return nil
		default:
		}
		return errors.New("dial tcp 192.0.2.1:8443: connection refused")
	}
	w.start()
	path := w.source("f", seal.FilePartPlain+1)
	reasons := make(chan string, 1000)
	done := make(chan error, 1)
	go func() {
		_, err := w.s.Send(t.Context(), local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{{Path: path}}}, nil, func(p local.FileProgress) {
			if p.Reason != "" {
				reasons <- p.Reason
			}
		})
		done <- err
	}()
	if why := <-reasons; !strings.Contains(why, "192.0.2.1:8443: connection refused") {
		t.Errorf("told: %s", why)
	}
	var why map[string]*local.Error
	w.until("no reason can be asked", func() (ok bool) {
		var err error
		why, err = w.s.Waiting(t.Context())
		return err == nil && len(why) == 1
	})
	for id, e := range why {
		if e.Code != local.CodeUnreachable || !strings.Contains(e.Message, "refused") || w.file(store.MessageID(uuid.MustParse(id))).State != store.FileSending {
			t.Errorf("%s: %+v", id, e)
		}
	}
	close(refuse)
	w.s.Reached()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.until("a reason stays", func() bool {
		why, err := w.s.Waiting(t.Context())
		return err == nil && len(why) == 0
	})
}

// A blob that cannot be deleted does not block later deletions.
func TestBlobThatCannotBeDeleted(t *testing.T) {
	w := newWorld(t)
	w.blobs.remove = func(id string) error {
		if id == "stays" {
			return fmt.Errorf("%w: status 405", ErrAnswer)
		}
		return nil
	}
	w.start()
	defer w.skipWaits()()
	for _, id := range []string{"stays", "goes"} {
		w.update(func(tx *store.Tx) error {
			return tx.InsertTransfer(&store.Transfer{Account: 1, Kind: store.TransferDelete, CreatedMS: w.st.ProfileTime().UnixMilli(), Body: []byte(id)})
		})
	}
	w.s.Kick()
	w.until("the second blob is not deleted", func() bool {
		w.blobs.mu.Lock()
		defer w.blobs.mu.Unlock()
		return len(w.blobs.deleted) == 1 && w.blobs.deleted[0] == "goes"
	})
}
