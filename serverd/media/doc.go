// Package media is the streaming media server: TURN and STUN (RFC 8656, RFC
// 8489) over UDP and TCP, for calls whose two devices cannot reach each other.
// It relays sealed packets and knows neither calls nor keys.
//
// pion/turn speaks the protocol. What it leaves open is decided here, because an
// unguarded TURN server is an open door into the operator's network: who may
// allocate (credentials.go), which peers may be reached (policy.go, checked for
// each request in guard.go and again for each packet in relay.go), how much
// (sessions.go, limit.go), and what an unknown sender can make us answer
// (guard.go, stream.go). Relaying of TCP (RFC 6062) is off.
//
// Requests are pion's, and so are Send and Data indications, by which a call
// begins. The packets of channels, which are nearly all, do not go through it:
// client.go, stream.go and relay.go pass them on by the table of channels that
// pion's events keep (table.go), over UDP several with each call of the kernel
// where several are waiting (batch.go). Only those to a client over TCP are pion's.
//
// A Server may be used concurrently. Open makes its sockets, Run keeps it and
// tests it until its context ends, Close ends everything and waits.
package media
