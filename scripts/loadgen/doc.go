// Package loadgen makes load for a server: devices with real keys that register,
// buy tokens and speak the wire protocol, but neither encrypt nor store. What
// they send is as long as a ciphertext and means nothing; what they receive they
// acknowledge from memory. So a measurement shows the server and not a client.
//
// A [Realm] and its devices may be used concurrently. Connections belong to
// whoever opened them.
package loadgen
