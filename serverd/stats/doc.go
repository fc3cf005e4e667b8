// Package stats gathers what the roles of a server say about themselves:
// counters and health checks. Roles hand it functions; it knows none of them.
//
// A Registry may be used concurrently. It starts no goroutine and lives as long
// as the server.
package stats
