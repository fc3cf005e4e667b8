// Package files moves files between this device and the blobs of the account's server. It
// seals a file and uploads it part by part; it downloads, verifies, decrypts and saves a
// file that a peer sent. It also makes the names of received files safe and makes
// thumbnails.
//
// A Service runs the transfers of one account. Everything that a peer or a server sends is
// bounded before it is read. The functions for names and thumbnails have no state and may
// be called concurrently.
//
// # Where the state of a file lives
//
//   - What a user sees belongs to package history: the row of the file with its state, size
//     and blob reference, the message it is part of, and the events about both. This package
//     changes it only through the interface Engine (seams.go). Each call is one transaction.
//   - How far a transfer has come belongs to this package: the rows of transfers and parts in
//     the store. The row of an upload holds a plan and each of its parts a mark (plan.go); the
//     row of a download holds a target (target.go). A blob that is to be deleted has a row, too.
//     The engine inserts the row of an upload in the transaction that queues its message, and
//     deletes the row of a finished transfer in the one that changes the file's state.
//   - On disk are the sealed parts that the server does not have yet (spool.go), and the
//     temporary files of unfinished downloads.
//   - Only in memory are the running transfers, their progress, the reasons why they wait, and
//     the source files that callers handed over. A Service of the next daemon continues
//     without them, except that a stream cannot be read twice.
//
// # The upload pipeline
//
// Each attempt of an upload runs four stages. Every stage is one goroutine, except that
// three goroutines send:
//
//	source                                         spool directory         server
//	   |                                                  ^                   ^
//	readAll --plainPart--> sealRest --sealedData--> spoolAll --sealedPart--> sendAll
//	   ^                      |                                               |
//	   +---- sealed ----------+<---------------- slots, memory ---------------+
//
// A file's upload reserves two or three buffers (memory.go); a stream allocates up to
// three. At any moment each buffer has exactly one owner:
//
//  1. readAll takes a free buffer, reads a part into it and passes it on. It reads the next
//     part only after a token on the channel sealed, so at most one buffer holds plaintext.
//  2. sealRest seals the part into a second buffer and frees the first one. Before that it
//     takes a token of slots (room in the spool) and one of memory (a buffer to seal into).
//  3. The sealed buffer is now a memCopy. spoolAll hashes it, writes it to the spool, syncs it
//     and records the part. From here on the part is durable and the memCopy is a cache of the
//     spool.
//  4. sendAll reads the part from the memCopy if there is one, else from the spool. The memCopy
//     is released when the transport has read its last byte, or when the request fails; a
//     retry reads the spool. When the server has stored the part, its spool file is removed and
//     its token of slots is returned.
//
// If sealRest gets no token of memory for a while, because the server is slow, it reclaims
// the memCopy of the part that was spooled last, unless sending of it has begun. Reading
// the source therefore stops only when the spool is full.
package files
