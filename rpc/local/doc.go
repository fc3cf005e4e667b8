// Package local is the contract between a program on this machine and the user's daemon: JSON-RPC 2.0,
// one object per line, over a Unix socket that only the same user may open. It contains the methods,
// their parameters and results, the shape of an event, the error codes, and the typed Client. `-o json`
// prints the JSON of these types.
//
// Requests are decoded strictly (package strict): no duplicate or unknown member, names spelt as here.
// Readers of answers ignore unknown members. Types are plain data. A Client is safe for concurrent use
// and lives until Close.
package local
