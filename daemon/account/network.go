package account

import (
	"fmt"
	"net"
)

// addresses returns the addresses of this machine. A change shows that it is in
// another network.
func addresses() string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	return fmt.Sprint(list)
}
