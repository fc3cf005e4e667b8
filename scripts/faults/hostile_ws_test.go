//go:build linux

package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/crypto/identity"
	"secmsg/rpc/wire"
	"secmsg/scripts/lab"
	"secmsg/scripts/loadgen"
)

// hostiles registers accounts whose holders use the protocol arbitrarily.
func (r *rig) hostiles(n int) []*loadgen.Device {
	r.t.Helper()
	text, err := r.w.Invite(r.t.Context(), n)
	r.check(err)
	invite, err := identity.ParseInvite(text)
	r.check(err)
	realm := loadgen.NewRealm(r.w.Listen(), "localhost")
	r.t.Cleanup(realm.Close)
	devices, err := realm.RegisterMany(r.t.Context(), invite.Token, "mallory", n)
	r.check(err)
	return devices
}

// contact opens a contact connection of a hostile device.
func (r *rig) contact(d *loadgen.Device) *websocket.Conn {
	r.t.Helper()
	ws, _, err := d.OpenContact(r.t.Context())
	r.check(err)
	r.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// over requires that the server ends a connection.
func (r *rig) over(what string, ws *websocket.Conn) {
	r.t.Helper()
	r.check(ws.SetReadDeadline(time.Now().Add(settleTime)))
	for {
		_, _, err := ws.ReadMessage()
		var timeout net.Error
		switch {
		case err == nil:
			continue
		case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
			r.t.Errorf("%s: the connection is not closed", what)
		}
		return
	}
}

// rawFrame is the header of a masked client frame (RFC 6455, section 5.2) that claims a length, and the
// payload.
func rawFrame(opcode byte, claimed uint64, payload []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{opcode, 0x80 | 127}, claimed)
	return append(append(b, 0, 0, 0, 0), payload...)
}

// Attacks E2, E4 and E6: false lengths, fragments without end, arrays that claim more elements than
// there are, and floods of control frames, each by a client with a valid token. The connection ends,
// the server does not grow, and others continue.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	pid := r.w.Server().PID()
	mallory := r.hostiles(1)[0]
	before, err := lab.RSS(pid)
	r.check(err)
	const binaryFrame, fin, continuation = 0x2, 0x80, 0x0
	for _, claimed := range []uint64{1<<63 - 1, 1 << 63, 1<<64 - 1, 1<<32 - 1, wire.MaxFrame + 1} {
		ws := r.contact(mallory)
		_, err := ws.NetConn().Write(rawFrame(fin|binaryFrame, claimed, make([]byte, 100)))
		r.check(err)
		r.over("a lying length", ws)
	}
	ws := r.contact(mallory)
	part, opcode := make([]byte, 16<<10), byte(binaryFrame)
	for range 64 {
		if _, err := ws.NetConn().Write(rawFrame(opcode, uint64(len(part)), part)); err != nil {
			break
		}
		opcode = continuation
	}
	r.over("fragments without end", ws)
	// Field 1 of the protobuf with a varint length of 2^32-1, and of 2^63-1.
	for _, lie := range []string{"\x0a\xff\xff\xff\xff\x0f", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\x12\xff\xff\xff\xff\x0fx", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		ws := r.contact(mallory)
		r.check(ws.WriteMessage(websocket.BinaryMessage, []byte(lie)))
		r.over("a lying field", ws)
	}
	for _, kind := range []int{websocket.PingMessage, websocket.PongMessage} {
		ws := r.contact(mallory)
		start, sent := time.Now(), 0
		for sent < sized(50_000, 1_000_000) && ws.WriteControl(kind, []byte("flood"), time.Now().Add(settleTime)) == nil {
			sent++
		}
		r.over("a flood of control frames", ws)
		t.Logf("%d control frames of kind %d in %s", sent, kind, time.Since(start))
	}
	now, err := lab.RSS(pid)
	if err != nil || now > before+memorySlack {
		t.Errorf("the server grew from %d to %d bytes (%v)", before, now, err)
	}
	t.Logf("resident memory %d MiB before, %d MiB after", before>>20, now>>20)
	r.send("alice", "bob", "after", "--wait", "delivered", "--timeout", patience)
	r.settle()
	r.noPanic()
}

// Attack E8: a replica connection that never reads while a peer sends as fast as it can. Undelivered
// mail is on disk, the server does not grow, and others are served meanwhile.
func TestHostileSlowConsumer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	pid := r.w.Server().PID()
	devices := r.hostiles(2)
	from, to := devices[0], devices[1]
	r.check(loadgen.Befriend(t.Context(), from, to))
	ws, value, err := to.OpenContact(t.Context())
	r.check(err)
	r.check(ws.Close())
	deaf, err := to.OpenReplica(t.Context(), value)
	r.check(err)
	defer deaf.Close()

	before, err := lab.RSS(pid)
	r.check(err)
	line, err := loadgen.NewLine(t.Context(), from, to, 2048, false)
	r.check(err)
	messages := sized(4000, 100_000)
	// The most memory that the server may use for a client that does not read, and the cache of its
	// database.
	const most = 64 << 20
	var acked int
	var wg sync.WaitGroup
	wg.Go(func() {
		for acked < messages {
			n, err := line.Acked()
			if err != nil {
				t.Errorf("after %d of %d messages: %v", acked, messages, err)
				return
			}
			acked += n
		}
	})
	stop := context.AfterFunc(t.Context(), func() { _ = line.Close() })
	const batch = 32
	for sent := 0; sent < messages; sent += batch {
		r.check(line.Send(make([]byte, 8), min(batch, messages-sent)))
	}
	start := time.Now()
	r.send("alice", "bob", "meanwhile", "--wait", "delivered", "--timeout", patience)
	others := time.Since(start)
	guard := time.AfterFunc(2*settleTime, func() { _ = line.Close() })
	wg.Wait()
	guard.Stop()
	stop()
	_ = line.Close()
	now, err := lab.RSS(pid)
	if err != nil || now > before+most {
		t.Errorf("the server grew from %d to %d bytes (%v)", before, now, err)
	}
	t.Logf("%d messages for one who does not read; resident memory %d MiB before, %d MiB after; others' message took %s", messages, before>>20, now>>20, others)
	r.check(deaf.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 2*settleTime)
	defer cancel()
	if n, _, err := loadgen.Drain(ctx, to, messages); err != nil || n != messages {
		t.Errorf("%d of %d messages arrived when the device that had stopped reading reconnected: %v", n, messages, err)
	}
	r.settle()
	r.noPanic()
}
