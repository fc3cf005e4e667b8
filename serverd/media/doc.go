// Package media is the media relay: TURN and STUN (RFC 8656, RFC 8489) over UDP and TCP, for calls
// whose two devices cannot reach each other directly. It relays sealed packets and knows neither calls
// nor keys.
//
// pion/turn implements the protocol. This package makes the decisions that pion leaves open, because an
// unguarded TURN server is an open door into the operator's network: who may allocate (credentials.go),
// which peers may be reached (policy.go, checked for each request in guard.go and again for each packet
// in relay.go), how much (sessions.go, limit.go), and what an unknown sender can make the server answer
// (guard.go, stream.go). Relaying of TCP (RFC 6062) is off.
//
// pion handles requests, and the Send and Data indications with which a call begins. Packets of
// channels, which are nearly all packets, bypass it: client.go, stream.go and relay.go forward them by
// the table of channels that pion's events maintain (table.go), over UDP several per system call when
// several are waiting (batch.go). Only channel packets to a client over TCP go through pion.
//
// Bypassing pion is worth a factor of three: one relayed packet costs the server 1.0 us of processor
// time instead of 3.1 us (8 pairs of clients, packets of 1,000 bytes, the load of scripts/bench call,
// six interleaved rounds on 2 cores; the policy for each packet was the same in both). The system
// calls are our own for the same reason: golang.org/x/net/ipv4 and ipv6 need 1.35 us (nine rounds, 1.21
// to 1.49; our own 0.91 to 1.12), because each packet allocates its address and each call passes through the
// scheduler. BenchmarkBatches repeats that comparison on loopback.
//
// A Server is safe for concurrent use. Open opens its sockets, Run keeps them open and runs the
// self-test until its context ends, and Close ends everything and waits.
package media
