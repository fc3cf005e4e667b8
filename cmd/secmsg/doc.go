// Command secmsg is an end-to-end encrypted messenger for shells and scripts:
// the command line, the per-user daemon and the self-hosted server in one
// binary. Every command is in a file of its own as newXCommand and runX; a
// command that talks to the daemon does so through rpc/local only. Nothing is
// kept between calls: the app value holds the streams and flags of one run.
package main
