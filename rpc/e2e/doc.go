// Package e2e is the contract between devices: the contents that travel inside the ciphertext, their
// kinds and their bounds. The server never links it, so the server's code cannot read or depend on
// contents. The package has no state and is safe for concurrent use.
package e2e

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --go_out=. --go_opt=paths=source_relative e2e.proto"
