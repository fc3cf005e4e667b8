// Command secmsg is an end-to-end encrypted messenger for shells and scripts: the
// command line, the per-user daemon and the self-hosted server in one binary. Each
// command has a file with newXCommand and runX, and talks to the daemon only through
// rpc/local. There are no globals: an app value holds the streams and flags of one run.
package main
