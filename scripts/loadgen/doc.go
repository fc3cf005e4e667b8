// Package loadgen generates load for a server: devices with real keys that register, get tokens and
// speak the wire protocol, but neither encrypt nor store. Their payloads have the length of a
// ciphertext but no meaning; they acknowledge received envelopes from memory. So a measurement shows
// the server and not the client.
//
// A [Realm] and its devices are safe for concurrent use. A connection belongs to the caller that opened
// it.
package loadgen
