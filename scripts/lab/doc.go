// Package lab runs realms of real secmsg processes on one machine, for tests,
// benchmarks and fault tests: a server, the profiles of some users with their
// daemons, commands, consumers, and proxies that disturb what lies between.
//
// A [World] holds one realm in a directory of its own. Its methods may be called
// concurrently, except those that start and end the server, which have one
// caller. Close ends every process that belongs to the world.
package lab
