package account

import (
	"fmt"
	"net"
)

// addresses returns the addresses of this machine, to see when they change.
func addresses() string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	return fmt.Sprint(list)
}
