package daemon

import "testing"

func TestUnitOf(t *testing.T) {
	for text, want := range map[string][2]string{
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/secmsg.service\n":                       {"secmsg.service", "user"},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/secmsg-daemon-0011223344556677.service": {"secmsg-daemon-0011223344556677.service", "user"},
		"0::/system.slice/system-secmsg\\x2ddaemon.slice/secmsg-daemon@carol.service\n":                     {"secmsg-daemon@carol.service", "system"},
		"12:pids:/x.service\n1:name=systemd:/system.slice/secmsg.service\n":                                 {"secmsg.service", "system"},
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                                  {},
		"0::/user.slice/user-1000.slice/user@1000.service\n":                                                {},
		"0::/\n": {}, "": {}, "nonsense": {},
	} {
		if name, manager := unitOf(text); name != want[0] || manager != want[1] {
			t.Errorf("unitOf(%q) = %s, %s", text, name, manager)
		}
	}
}
