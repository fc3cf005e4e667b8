package media

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// xnetReader and xnetWriter are reader and writer on top of golang.org/x/net.
// BenchmarkBatches compares their costs.
type xnetReader struct {
	conn *ipv4.PacketConn
	most int

	room  [][]byte
	ms    []ipv4.Message
	at, n int
}

func newXnetReader(c *net.UDPConn, most int) *xnetReader {
	r := &xnetReader{conn: ipv4.NewPacketConn(c), most: most}
	r.grow()
	return r
}

func (r *xnetReader) grow() {
	for range min(max(len(r.ms), 1), r.most-len(r.ms)) {
		room := newRoom()
		r.room = append(r.room, room)
		r.ms = append(r.ms, ipv4.Message{Buffers: [][]byte{room[channelHeader:]}})
	}
}

func (r *xnetReader) next() (packet, bool) {
	if r.at == r.n {
		return packet{}, false
	}
	i := r.at
	r.at++
	return packet{r.room[i], r.ms[i].N, unmapped(r.ms[i].Addr.(*net.UDPAddr).AddrPort())}, true
}

func (r *xnetReader) fill() (err error) {
	if r.n == len(r.ms) {
		r.grow()
	}
	r.at = 0
	r.n, err = r.conn.ReadBatch(r.ms, 0)
	return err
}

type xnetWriter struct {
	conn     *ipv4.PacketConn
	segments bool

	ms   []message
	bufs [][]byte
	out  []ipv4.Message
	to   []net.UDPAddr
}

func newXnetWriter(c *net.UDPConn) *xnetWriter {
	return &xnetWriter{conn: ipv4.NewPacketConn(c), segments: canSegment(rawOf(c))}
}

func (w *xnetWriter) add(b []byte, to netip.AddrPort) {
	w.bufs = append(w.bufs, b)
	if len(w.ms) > 0 && w.segments && len(b) > 0 {
		m := &w.ms[len(w.ms)-1]
		if m.to == to && !m.full && len(b) <= m.length && m.count < maxSegments && m.size+len(b) <= maxSegmented {
			m.count++
			m.size += len(b)
			m.full = len(b) < m.length
			return
		}
	}
	w.ms = append(w.ms, message{to: to, first: len(w.bufs) - 1, count: 1, length: len(b), size: len(b), full: len(b) == 0})
}

func (w *xnetWriter) flush() (failed int) {
	w.out = w.out[:0]
	for len(w.to) < len(w.ms) {
		w.to = append(w.to, net.UDPAddr{})
	}
	for i := range w.ms {
		m := &w.ms[i]
		ip := m.to.Addr().As16()
		w.to[i].IP, w.to[i].Port = append(w.to[i].IP[:0], ip[:]...), int(m.to.Port())
		out := ipv4.Message{Buffers: w.bufs[m.first : m.first+m.count], Addr: &w.to[i]}
		if m.count > 1 {
			out.OOB = m.oob[:segmentControl(m.oob[:], m.length)]
		}
		w.out = append(w.out, out)
	}
	for at := 0; at < len(w.out); {
		n, err := w.conn.WriteBatch(w.out[at:], unix.MSG_DONTWAIT)
		if err != nil || n <= 0 {
			failed += w.ms[at].count
			n = 1
		}
		at += n
	}
	clear(w.bufs)
	w.ms, w.bufs = w.ms[:0], w.bufs[:0]
	return failed
}

// BenchmarkBatches sends and receives packets on loopback, by our own system calls and
// by those of golang.org/x/net/ipv4, and reports the CPU time per packet. Calls mostly
// send single packets; runs occur when a pair of sockets is busy.
func BenchmarkBatches(b *testing.B) {
	type in interface {
		next() (packet, bool)
		fill() error
	}
	type out interface {
		add([]byte, netip.AddrPort)
		flush() int
	}
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		return c
	}
	for _, count := range []int{1, 4, 16} {
		for name, make := range map[string]func(r, w *net.UDPConn) (in, out){
			"own":  func(r, w *net.UDPConn) (in, out) { return newReader(r, relayBatch), newWriter(w) },
			"xnet": func(r, w *net.UDPConn) (in, out) { return newXnetReader(r, relayBatch), newXnetWriter(w) },
		} {
			b.Run(fmt.Sprintf("%d/%s", count, name), func(b *testing.B) {
				// Two receivers in turn, so that half of the packets are runs for one address.
				from := listen()
				to := [2]*net.UDPConn{listen(), listen()}
				var readers [2]in
				var addrs [2]netip.AddrPort
				var w out
				for i, c := range to {
					readers[i], w = make(c, from)
					addrs[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
				}
				data := newRoom()[:200]
				b.ReportAllocs()
				before := cpuTime(b)
				for b.Loop() {
					for i := range 2 {
						for range count {
							w.add(data, addrs[i])
						}
					}
					if n := w.flush(); n != 0 {
						b.Fatalf("%d packets were refused", n)
					}
					for i := range 2 {
						for got := 0; got < count; {
							if _, ok := readers[i].next(); ok {
								got++
							} else if err := readers[i].fill(); err != nil {
								b.Fatal(err)
							}
						}
					}
				}
				b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N*2*count), "cpu-ns/packet")
			})
		}
	}
}

// cpuTime returns the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
