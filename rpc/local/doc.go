// Package local is the contract between a program on this machine and the
// user's daemon: JSON-RPC 2.0, one object a line, over a Unix socket that only
// the same user may open. It holds the methods, their parameters and results,
// the shape of an event, the error codes, and the typed Client. The JSON of
// `-o json` is the JSON of these types.
// Requests are read strictly (package strict): no member twice, no unknown member,
// names as they are spelt here. Readers of answers ignore members they do not know. Types are plain data; a Client is safe
// for concurrent use and lives until Close.
package local
