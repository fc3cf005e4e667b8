package daemon

import (
	"context"
	"fmt"
)

// tellStatus updates the status line of `systemctl status` until ctx ends.
func (d *Daemon) tellStatus(ctx context.Context) {
	last := ""
	for {
		accounts, up, changed := d.backend.Connected()
		if line := statusLine(d.keys.Locked(), accounts, up); line != last {
			last = line
			tell(d.logger, "STATUS="+line)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// statusLine describes the daemon in a few words.
func statusLine(locked bool, accounts, up int) string {
	if locked {
		return "locked; unlock with: secmsg unlock"
	}
	return accountsLine(accounts, up)
}

func accountsLine(accounts, up int) string {
	noun := "accounts"
	if accounts == 1 {
		noun = "account"
	}
	switch {
	case accounts == 0:
		return "no account"
	case up == accounts:
		return fmt.Sprintf("%d %s, connected", accounts, noun)
	case up == 0:
		return fmt.Sprintf("%d %s, not connected", accounts, noun)
	}
	return fmt.Sprintf("%d %s, %d connected", accounts, noun, up)
}
