package relay

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// Station is a point that an envelope passes on its way through the relay.
type Station uint8

// The stations, in the order in which an envelope passes them. After Received it takes one of three ways: Refused; Sent,
// Acknowledged (from memory); or Stored, Sent, Acknowledged (through the mailbox). The sender gets its result at Refused,
// at Stored, or, from memory, at Acknowledged.
const (
	Received     Station = iota + 1 // a Send frame of the sender carried it
	Refused                         // the relay takes no responsibility for it
	Stored                          // the recipient's mailbox has it; the commit is done
	Sent                            // it was written to the recipient's connection
	Acknowledged                    // the recipient's device has committed it
	Expired                         // the mailbox dropped it, because nobody fetched it in time
)

var stationNames = [...]string{
	Received: "received", Refused: "refused", Stored: "stored", Sent: "sent", Acknowledged: "acknowledged", Expired: "expired",
}

// String returns the station's name in the log and in traces.
func (s Station) String() string {
	if int(s) < len(stationNames) && s > 0 {
		return stationNames[s]
	}
	return "unknown"
}

// Step is one envelope passing one station. A message is one envelope for each device of the recipient and for each
// other device of the sender; all carry the message's id.
type Step struct {
	Time         time.Time // wall clock
	Station      Station
	Message      [16]byte
	Sender       string // account
	SenderDevice key.DeviceID
	Recipient    string // account
	Device       key.DeviceID
	Class        wire.Class
	Reason       wire.Reason // of Refused
}

// ClassName is the class in traces and the log: "durable" for CLASS_DURABLE.
func (s Step) ClassName() string {
	return strings.ToLower(strings.TrimPrefix(s.Class.String(), "CLASS_"))
}

// ReasonName is the reason of a refusal in traces and the log, such as "quota"; empty at other stations.
func (s Step) ReasonName() string {
	if s.Station != Refused {
		return ""
	}
	return reasonName(s.Reason)
}

const (
	// traceShards is the number of independently locked parts of the trace.
	traceShards = 16
	// traceSteps is the number of steps in one shard. A step takes about 100 bytes, so all shards take 3 MiB.
	traceSteps = 2048
)

// trace keeps the last steps of all envelopes in memory, for an administrator who looks for one message. It is never
// written to disk.
type trace struct {
	shards [traceShards]struct {
		mu    sync.Mutex
		steps []step // a ring once it is full
		next  int
	}
}

// step is the compact form of a Step in the trace. Its only pointers are those of the two names.
type step struct {
	message           [16]byte
	at                int64 // Unix nanoseconds
	sender, recipient string
	senderDevice      key.DeviceID
	device            key.DeviceID
	station           Station
	class             uint8
	reason            uint8
}

// add keeps a step. It replaces the shard's oldest step once the shard is full.
func (t *trace) add(station Station, m *store.Mail, reason wire.Reason, now time.Time) {
	shard := &t.shards[m.MessageID[15]%traceShards] // the last byte of an id is random
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if len(shard.steps) < traceSteps {
		shard.steps = append(shard.steps, step{})
		shard.next = len(shard.steps) - 1
	}
	s := &shard.steps[shard.next]
	shard.next = (shard.next + 1) % traceSteps
	s.message, s.at, s.station, s.class, s.reason = m.MessageID, now.UnixNano(), station, m.Class, uint8(reason)
	s.sender, s.senderDevice, s.recipient, s.device = m.Sender, m.SenderDevice, m.Account, m.Device
}

// of returns the steps of a message, oldest first.
func (t *trace) of(message [16]byte) []Step {
	shard := &t.shards[message[15]%traceShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	oldest := 0
	if len(shard.steps) == traceSteps {
		oldest = shard.next
	}
	var found []Step
	for i := range shard.steps {
		if s := &shard.steps[(oldest+i)%len(shard.steps)]; s.message == message {
			found = append(found, Step{
				Time: time.Unix(0, s.at), Station: s.station, Message: s.message, Sender: s.sender, SenderDevice: s.senderDevice,
				Recipient: s.recipient, Device: s.device, Class: wire.Class(s.class), Reason: wire.Reason(s.reason),
			})
		}
	}
	return found
}

// Trace returns the steps of a message's envelopes at this relay, oldest first. Only those among the last 32,768 steps
// of all messages are known.
func (r *Relay) Trace(message [16]byte) []Step {
	return r.trace.of(message)
}

// passed records that an envelope passed a station: in the trace, and in the log at level debug.
func (r *Relay) passed(station Station, m *store.Mail, reason wire.Reason, now time.Time) {
	r.trace.add(station, m, reason, now)
	if r.log.Enabled(context.Background(), slog.LevelDebug) {
		s := Step{Station: station, Class: wire.Class(m.Class), Reason: reason}
		r.log.Debug("envelope", "message", uuid.UUID(m.MessageID).String(), "account", m.Sender, "peer", m.Account,
			"device", m.Device.String(), "class", s.ClassName(), "state", station.String(), "reason", s.ReasonName())
	}
}
