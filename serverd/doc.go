// Package serverd puts a server together: Init makes its directory, Run serves
// the roles of the configuration until its context ends. Logic lives in the
// packages below; this one owns listeners, TLS, the admin socket, the lock of
// the directory and the order of start and stop. Run waits for every goroutine
// that it starts.
package serverd
