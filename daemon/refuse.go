package daemon

import (
	"errors"
	"log/slog"
	"net"

	"github.com/coreos/go-systemd/v22/activation"

	"secmsg/daemon/localapi"
	"secmsg/rpc/local"
)

// refuse tells commands that wait at the service manager's socket why the daemon
// does not start. If another daemon has the profile they are told nothing: they look for that one.
func refuse(err error, logger *slog.Logger) {
	if isInUse(err) {
		return
	}
	inherited, listenErr := activation.Listeners()
	if listenErr != nil {
		return // the daemon's own error says more
	}
	why, ok := errors.AsType[*local.Error](err)
	if !ok {
		why = local.Errorf(local.CodeNoDaemon, "the daemon does not start").WithHint("its log says why")
	}
	for _, ln := range inherited {
		if unix, ok := ln.(*net.UnixListener); ok {
			localapi.Refuse(unix, why, logger)
		}
	}
}
