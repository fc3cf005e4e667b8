# Every command finds the daemon, wherever the daemon was started, and no daemon is tied to
# the session or unit that happened to start it.

fresh bob
job bob 'secmsg send alice 1' >/dev/null
o=$(login bob 'secmsg status')
[[ $o = *connected* ]]
say $? 'a job without a session starts the daemon, then a login' "$o"

fresh bob
unit bob -- secmsg send alice 2 >/dev/null
o=$(login bob 'secmsg status')
[[ $o = *connected* ]]
say $? 'a system unit starts the daemon, then a login' "$o"

# The session of a login shell creates /run/user; its end removes it.
fresh bob
rm -f /home/bob/go
login bob 'until [ -e go ]; do sleep 0.5; done' &
until_true test -S "/run/user/$(uid bob)/systemd/private"
o=$(cron bob 'secmsg send alice 3')
say $? 'cron starts the daemon while somebody is logged in' "$o"
touch /home/bob/go
wait
gone bob
say $? 'and does not keep the runtime directory after the logout' "$(loginctl)"
o=$(cron bob 'secmsg send alice 4')
say $? 'then cron again' "$o"
o=$(login bob 'secmsg status')
[[ $o = *connected* ]]
say $? 'and a login again' "$o"
n=$(wc -l </home/bob/.local/state/secmsg/daemon.log)
[ "$n" -lt 200 ]
say $? 'without superfluous starts of daemons (lines of daemon.log)' "$n"

fresh bob
login bob 'secmsg status' >/dev/null
gone bob
say $? 'a daemon started by a login does not keep the session open' "$(loginctl; systemctl status "user@$(uid bob)" --no-pager | tail -20)"

fresh bob
lingers bob
o=$(unit bob -- secmsg send alice 5)
sleep 2
ask bob
say $? 'a command in a oneshot unit: the daemon outlives the unit' "$o"

fresh bob
lingers bob
unit bob PrivateNetwork=yes -- secmsg status >/dev/null
o=$(login bob 'secmsg send alice 6 --wait server --timeout 60s; echo rc=$?')
[[ $o = *rc=0* ]]
say $? 'a command in a sandbox: the daemon is outside of it' "$o"

fresh bob
job bob 'secmsg status' >/dev/null
kill -HUP "$(pid bob)"
until_true no_daemon bob
o=$(tail -1 /home/bob/.local/state/secmsg/daemon.log)
[[ $o = *'daemon stops'* && ! -s /home/bob/.local/share/secmsg/secmsg.db-wal ]]
say $? 'SIGHUP stops the daemon cleanly' "$o"

fresh bob
rm -f /home/bob/session
login bob 'secmsg status >/dev/null; echo $XDG_SESSION_ID >s; mv s session; sleep 600' >/dev/null &
until_true test -e /home/bob/session
loginctl terminate-session "$(cat /home/bob/session)"
wait
gone bob && no_daemon bob && [ ! -s /home/bob/.local/share/secmsg/secmsg.db-wal ]
say $? 'the end of the last session ends the daemon cleanly' "$(loginctl; ls -l /home/bob/.local/share/secmsg)"

fresh bob
job bob 'secmsg status' >/dev/null
p=$(pid bob)
kill -STOP "$p"
o=$(job bob 'secmsg status; echo rc=$?')
kill -CONT "$p"
[[ $o = *"$p"* && $o = *rc=7* ]]
say $? 'a stopped daemon is reported, exit 7' "$o"
fresh bob
