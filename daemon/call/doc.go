// Package call makes voice and video calls. Its core is a state machine that is a pure
// function, Next. A Service feeds it the actions of users, signals of peers, events of
// media, and timers, and carries out the resulting effects. Network and media library are
// behind interfaces (seams.go).
//
// A Service belongs to one account on one device. Its methods may be called from any
// goroutine. All state is owned by the loop in Run.
package call
