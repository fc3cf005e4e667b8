package local

import (
	"fmt"
	"net"
	"os"

	"secmsg/rpc/unixpeer"
)

// CheckPeer returns an error unless the process at the other end of c runs as the same user. Root is
// refused, too: root has other ways, and if the socket answered root, a setuid program could be tricked
// into using it.
func CheckPeer(c *net.UnixConn) error {
	uid, err := unixpeer.UID(c)
	if err != nil {
		return err
	}
	if own := os.Geteuid(); uid != own {
		return fmt.Errorf("the other end of the socket is user %d, not %d", uid, own)
	}
	return nil
}
