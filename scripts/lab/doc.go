// Package lab runs realms of real secmsg processes on one machine, for tests, benchmarks and fault
// tests: a server, users' profiles with their daemons, commands, consumers, and proxies that disturb
// the connections between them.
//
// A [World] contains one realm in its own directory. Its methods are safe for concurrent use, except
// those that start and end the server, which must have one caller. Close ends every process of the
// world.
package lab
