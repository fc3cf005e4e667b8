//go:build cgo && unix

package main

/*
#include <errno.h>
#include <fcntl.h>

static int secmsg_closed;

// A constructor runs before the Go runtime.
__attribute__((constructor)) static void secmsg_look(void) {
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
			secmsg_closed |= 1 << fd;
}

static int secmsg_closed_at_start(void) { return secmsg_closed; }
*/
import "C"

// exactStdfds means that closedAtStart is certain.
const exactStdfds = true

// closedAtStart reports which standard descriptors were closed.
func closedAtStart() stdfds {
	closed := int(C.secmsg_closed_at_start())
	return stdfds{stdin: closed&1 != 0, stdout: closed&2 != 0}
}
