# The service of `daemon install`, with jobs and upgrades.

fresh alice
o=$(login alice 'secmsg status >/dev/null; secmsg daemon install; echo rc=$?; systemctl --user is-active secmsg.service; secmsg status; systemctl --user is-system-running')
[[ $o = *rc=0*$'\n'active$'\n'*connected*$'\n'running* ]]
say $? 'install takes over from a running daemon' "$o"
[[ $o = *enable-linger* ]]
say $? 'install mentions linger when it is off' "$o"
o=$(login alice 'systemd-analyze --user verify .config/systemd/user/secmsg.service .config/systemd/user/secmsg.socket && echo clean')
[ "$o" = clean ]
say $? 'verify of the user units' "$o"
o=$(login alice "$(declare -f score); score --user security secmsg.service")
at_most "$o" 2.5
say $? 'exposure of the user unit, at most 2.5' "$o"
gone alice
say $? 'without linger the service ends with the last session' "$(loginctl)"

job alice 'secmsg send bob 1' >/dev/null
o=$(login alice 'sleep 5; secmsg status; systemctl --user is-active secmsg.service; systemctl --user is-system-running')
[[ $o = *connected*$'\n'active$'\n'running* ]]
say $? 'a job while logged out, then a login: the service runs' "$o"

loginctl enable-linger alice
o=$(login alice 'secmsg daemon install; echo rc=$?')
[[ $o = *rc=0* && $o != *enable-linger* ]]
say $? 'install does not mention linger when it is on' "$o"
o=$(cron alice 'secmsg send bob 2') && in_cgroup alice secmsg.service
say $? 'with linger a cron job is served by the service' "$o"
o=$(job alice 'XDG_RUNTIME_DIR=/run/user/0 secmsg daemon install -o json')
[[ $(jq -r '.enabled, .linger' <<<"$o" | tr '\n' ' ') = 'true true ' ]]
say $? 'install without a bus in the environment, as JSON' "$o"

o=$(login alice 'secmsg listen --consumer t >/dev/null & sleep 3; systemctl --user restart secmsg.service; until secmsg --no-autostart status >/dev/null 2>&1; do sleep 0.5; done; sleep 5; kill -0 $! && echo alive; kill $!')
[[ $o = *alive* ]]
say $? 'listen --consumer outlives a restart of the service' "$o"
o=$(login alice 'systemctl --user stop secmsg.service 2>/dev/null; secmsg daemon status; echo rc=$?; systemctl --user is-active secmsg.service')
[[ $o = *rc=7*$'\n'inactive* ]]
say $? 'daemon status does not start the service' "$o"

login alice 'secmsg status' >/dev/null
install -m755 /host/secmsg /usr/local/bin/secmsg
o=$(login alice 'secmsg status')
[[ $o = *upgrade* ]]
say $? 'status warns of a daemon that runs the binary from before an upgrade' "$o"
o=$(login alice 'secmsg daemon install; secmsg status')
[[ $o != *upgrade* && $(readlink "/proc/$(pid alice)/exe") = /usr/local/bin/secmsg ]]
say $? 'install after an upgrade runs the new binary' "$o $(readlink "/proc/$(pid alice)/exe")"
p=$(pid alice)
login alice 'secmsg daemon install' >/dev/null
[ "$p" = "$(pid alice)" ]
say $? 'a second install restarts nothing' "$p $(pid alice)"

o=$(login alice 'systemctl --user status secmsg.service --no-pager')
[[ $o = *'Status: "1 account, connected"'* ]]
say $? 'systemctl status shows the state of the daemon' "$o"
o=$(journalctl -q --no-pager -o cat -n 1 _SYSTEMD_USER_UNIT=secmsg.service _UID="$(uid alice)" -g 'daemon runs')
[[ $o = 'level=INFO msg="daemon runs"'* ]]
say $? 'lines in the journal have no second timestamp' "$o"

# Five failing starts while a command waits.
login alice 'chmod 755 .local/share/secmsg; systemctl --user restart secmsg.service' >/dev/null
o=$(login alice 'for i in 1 2 3 4 5 6; do secmsg send bob x; sleep 2; done; systemctl --user is-active secmsg.socket')
[[ $o = *'open to other users'* ]]
say $? 'a service that cannot start: commands report why' "$o"
o=$(login alice 'chmod 700 .local/share/secmsg; secmsg status; systemctl --user is-active secmsg.socket secmsg.service')
[[ $o = *connected*$'\n'active$'\n'active ]] && in_cgroup alice secmsg.service
say $? 'and it runs again once the cause is fixed' "$o"
o=$(journalctl -q --no-pager -o cat -p err _SYSTEMD_USER_UNIT=secmsg.service _UID="$(uid alice)" | grep 'open to other users')
[ -n "$o" ]
say $? 'its errors are errors in the journal' "$o"

mv /usr/local/bin/secmsg /usr/local/bin/away
login alice 'systemctl --user restart secmsg.service; sleep 12' >/dev/null
mv /usr/local/bin/away /usr/local/bin/secmsg
o=$(login alice 'secmsg status; systemctl --user is-active secmsg.socket')
[[ $o = *connected*$'\n'active ]] && in_cgroup alice secmsg.service
say $? 'a binary that was missing for a while: the service comes back' "$o"

for signal in KILL ABRT; do
    since=$(date +%s)
    p=$(pid alice)
    kill -$signal "$p"
    o=$(login alice 'secmsg status')
    [[ $o = *connected* && $(pid alice) != "$p" ]] && in_cgroup alice secmsg.service
    say $? "the service comes back after SIG$signal" "$o"
done
n=$(journalctl -q --no-pager -o cat --since "@$since" _SYSTEMD_USER_UNIT=secmsg.service _UID="$(uid alice)" | wc -l)
[ "$n" -le 10 ] && [ -s /home/alice/.local/state/secmsg/stuck.txt ]
say $? 'SIGABRT, as of the watchdog, leaves few lines in the journal' "$n lines"

# The daemon opens the files that commands name.
o=$(login alice 'echo hello >/tmp/letter; secmsg file send bob /tmp/letter -q; echo rc=$?')
[[ $o = *rc=0* ]]
say $? 'a file in /tmp is sent under the sandbox' "$o"
job bob 'secmsg send alice x; secmsg file send alice /etc/hostname -q' >/dev/null
o=$(login alice 'secmsg listen --type file --replay --count 1 --timeout 60s -o json 2>/dev/null || secmsg file list -o json')
id=$(jq -rs 'map(select(.direction == "in"))[0].id // empty' <<<"$o")
o=$(login alice "mkdir -p /tmp/incoming; secmsg file get $id -O /tmp/incoming/; cat /tmp/incoming/hostname")
[[ $o = *vm ]]
say $? 'a file is fetched into /tmp under the sandbox' "$id $o"

o=$(job alice 'secmsg daemon uninstall -o json; echo rc=$?')
left=$(find /home/alice/.config/systemd -name 'secmsg*')
[[ $o = *rc=0* && -z $left && $(login alice 'systemctl --user is-active secmsg.service secmsg.socket; systemctl --user is-system-running') = inactive$'\n'inactive$'\n'running ]]
say $? 'uninstall without a bus in the environment leaves nothing' "$o $left"
o=$(login alice 'secmsg status')
[[ $o = *connected* ]]
say $? 'after an uninstall commands start the daemon themselves' "$o"

fresh alice
o=$(job alice 'secmsg daemon install; echo rc=$?')
[[ $o = *'enable-linger'*rc=3* ]]
say $? 'install with no manager exits 3 and says why' "$o"

fresh alice
sysctl -q kernel.unprivileged_userns_clone=0
o=$(login alice 'secmsg daemon install -o json; secmsg status; systemctl --user is-system-running')
[[ $o = *'"sandbox":false'*connected*running* ]]
say $? 'install without user namespaces omits the lines that need them' "$o"
sysctl -q kernel.unprivileged_userns_clone=1

fresh alice
mkdir -p '/opt/1 $HOME %h' /opt/2
install -m755 /host/secmsg '/opt/1 $HOME %h/secmsg'
install -m755 /host/secmsg /opt/2/secmsg
ln -sfn '/opt/1 $HOME %h/secmsg' /usr/local/bin/linked
o=$(login alice 'linked daemon install; grep ExecStart .config/systemd/user/secmsg.service')
[[ $o = *'ExecStart="/usr/local/bin/linked"'* ]]
say $? 'a link to the binary stays a link in the unit' "$o"
ln -sfn /opt/2/secmsg /usr/local/bin/linked
rm -r '/opt/1 $HOME %h'
o=$(login alice 'systemctl --user restart secmsg.service; linked status')
[[ $o = *connected* && $(readlink "/proc/$(pid alice)/exe") = /opt/2/secmsg ]]
say $? 'and the service survives an upgrade of the link'\''s target' "$o"
mkdir -p '/opt/odd $HOME %h'
install -m755 /host/secmsg '/opt/odd $HOME %h/sec msg'
o=$(login alice '"/opt/odd \$HOME %h/sec msg" daemon install; secmsg status')
[[ $o = *connected* && $(readlink "/proc/$(pid alice)/exe") = '/opt/odd $HOME %h/sec msg' ]]
say $? 'a binary with an unusual name' "$o"

fresh carol
o=$(login carol "umask 077; echo pw >pp; secmsg join '$(cat /var/tmp/invite)' --name carol --passphrase-file pp -q; secmsg daemon install -q
    mkdir -p .config/systemd/user/secmsg.service.d; printf '[Service]\nLoadCredential=secmsg.passphrase:%%h/pp\n' >.config/systemd/user/secmsg.service.d/passphrase.conf
    systemctl --user daemon-reload; systemctl --user restart secmsg.service; secmsg daemon status")
loginctl enable-linger carol
until_true ask carol
say $? 'LoadCredential= unlocks the profile of the service' "$o"

# A system unit for a user, with a credential encrypted on disk.
fresh carol
mkdir -p /etc/credstore.encrypted
echo -n pw | systemd-creds encrypt --name=secmsg.passphrase - /etc/credstore.encrypted/carol 2>/dev/null
systemd-run --quiet --collect --unit=carol-daemon --uid=carol -p LoadCredentialEncrypted=secmsg.passphrase:/etc/credstore.encrypted/carol secmsg daemon run
until_true ask carol
say $? 'LoadCredentialEncrypted= unlocks the profile of a system unit' "$(journalctl -u carol-daemon --no-pager -o cat -n 5)"
o=$(login carol 'secmsg status')
[[ $o = *connected* ]]
say $? 'and its daemon is found from a login' "$o"
systemctl stop carol-daemon
fresh carol
fresh alice
