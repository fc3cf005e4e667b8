package media

import (
	"sync"
	"time"

	"github.com/pion/rtcp"
)

// statsEvery is the interval of [Stats].
const statsEvery = time.Second

// meter counts the traffic of one stream. It is safe for concurrent use.
type meter struct {
	mu     sync.Mutex
	total  Stream // guarded by mu
	began  time.Time
	last   Stream    // totals at the last tick; guarded by mu
	lastAt time.Time // guarded by mu
	remote float64   // loss reported by the peer; guarded by mu
	made   uint32    // timestamp of the last packet, for the jitter; guarded by mu
	came   time.Time // its time of arrival; guarded by mu
}

func (m *meter) packet(size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.IsZero() {
		m.began = time.Now()
	}
	m.total.Packets++
	m.total.Bytes += uint64(size)
}

func (m *meter) frame()        { m.add(func(s *Stream) { s.Frames++ }) }
func (m *meter) refused()      { m.add(func(s *Stream) { s.Refused++ }) }
func (m *meter) dropped()      { m.add(func(s *Stream) { s.Dropped++ }) }
func (m *meter) lost(n int)    { m.add(func(s *Stream) { s.Lost += uint64(n) }) }
func (m *meter) codec(c Codec) { m.add(func(s *Stream) { s.Codec = c }) }
func (m *meter) add(f func(s *Stream)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.total)
}

// arrival updates the jitter with a packet that arrived now (RFC 3550, section 6.4.1).
// Timestamps start at any value and wrap.
func (m *meter) arrival(made, rate uint32, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.came.IsZero() {
		apart := time.Duration(int32(made-m.made)) * time.Second / time.Duration(rate)
		m.total.Jitter += ((now.Sub(m.came) - apart).Abs() - m.total.Jitter) / 16
	}
	m.made, m.came = made, now
}

// report applies the peer's report about our stream.
func (m *meter) report(r rtcp.ReceptionReport, rate uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remote = float64(r.FractionLost) / 256
	m.total.Lost = uint64(r.TotalLost)
	m.total.Jitter = time.Duration(r.Jitter) * time.Second / time.Duration(rate)
}

// tick returns the totals with the rates since the last tick.
func (m *meter) tick(sending bool) Stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	s := m.total
	if !m.lastAt.IsZero() {
		s.BitRate = bitRate(s.Bytes-m.last.Bytes, now.Sub(m.lastAt))
		s.Loss = share(s.Lost-m.last.Lost, s.Packets-m.last.Packets)
	}
	if sending {
		s.Loss = m.remote
	}
	m.last, m.lastAt = m.total, now
	return s
}

// whole returns the totals with the average rates of the call.
func (m *meter) whole(sending bool) Stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.total
	if !m.began.IsZero() {
		end := m.lastAt
		if end.Before(m.began) {
			end = time.Now()
		}
		s.BitRate = bitRate(s.Bytes, end.Sub(m.began))
	}
	s.Loss = share(s.Lost, s.Packets)
	if sending && s.Packets > 0 {
		s.Loss = min(1, float64(s.Lost)/float64(s.Packets))
	}
	return s
}

func bitRate(bytes uint64, d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int(float64(bytes) * 8 / d.Seconds())
}

// share returns the lost share of all packets, of which got arrived.
func share(lost, got uint64) float64 {
	if lost == 0 {
		return 0
	}
	return float64(lost) / float64(lost+got)
}

// tick posts the stats each second while media flow.
func (s *Session) tick() {
	select {
	case <-s.flow:
	case <-s.ctx.Done():
		return
	}
	ticker := time.NewTicker(statsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.post(s.stats((*meter).tick))
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Session) stats(read func(*meter, bool) Stream) Stats {
	s.mu.Lock()
	st := Stats{Pair: s.pair}
	s.mu.Unlock()
	for kind, into := range map[Kind]*Stream{Audio: &st.AudioOut, Video: &st.VideoOut} {
		if t := s.out[kind]; t != nil {
			*into = read(&t.meter, true)
			into.Codec, into.Muted = t.source.Codec(), t.isMuted()
		}
	}
	for kind, into := range map[Kind]*Stream{Audio: &st.AudioIn, Video: &st.VideoIn} {
		if t := s.in[kind]; t != nil {
			*into = read(&t.meter, false)
		}
	}
	if e := s.estimator; e != nil && len(s.out) > 0 {
		st.Target = e.GetTargetBitrate()
	}
	if transport := s.transport(); transport != nil {
		if p, ok := transport.ICETransport().GetSelectedCandidatePairStats(); ok {
			st.RoundTrip = time.Duration(p.CurrentRoundTripTime * float64(time.Second))
		}
	}
	return st
}

// Summary returns the statistics of the call so far; after [Session.Close], of the whole
// call.
func (s *Session) Summary() Summary {
	sum := Summary{Stats: s.stats((*meter).whole)}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum.Duration = s.upFor
	if !s.up.IsZero() {
		sum.Duration += time.Since(s.up)
	}
	return sum
}
