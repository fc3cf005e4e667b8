// Package stats collects counters and health checks from the roles of a server. Roles register
// functions; the package knows none of them.
//
// It is not prometheus/client_golang: the figures are read by an administrator's commands through
// the admin socket, as one JSON object, and there is no /metrics. A map of counters for each role is
// all that needs.
//
// A Registry is safe for concurrent use. It starts no goroutine and lives as long as the server.
package stats
