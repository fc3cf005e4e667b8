// Package stats collects counters and health checks from the roles of a server. Roles register
// functions; the package knows none of them.
//
// A Registry is safe for concurrent use. It starts no goroutine and lives as long as the server.
package stats
