// Package files moves files between this device and the blobs of the server:
// sealed and sent part by part, fetched, verified and opened into place. It owns
// what surrounds a transfer, too: names that are safe whatever a peer calls its
// file, and thumbnails.
//
// Everything that a peer can send is bounded before it is read. The functions
// for names and thumbnails have no state and may be used concurrently.
package files
