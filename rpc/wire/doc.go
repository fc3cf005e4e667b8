// Package wire is the contract between a device and the server: the protobuf frames of the replica and
// contact connections, the JSON bodies of the REST API, error codes, limits and the protocol version.
// It contains no logic beyond bounds and parsing, has no state, and is safe for concurrent use.
// rpc/PROTOCOL.md describes the same for implementers of other clients and servers.
package wire

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --go_out=. --go_opt=paths=source_relative wire.proto"
