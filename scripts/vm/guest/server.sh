# The server, run by the unit in serverd/OPERATIONS.md.

o=$(systemd-analyze verify /etc/systemd/system/secmsg.service 2>&1 && echo clean)
[ "$o" = clean ]
say $? 'verify of the server unit' "$o"
o=$(score security secmsg.service)
at_most "$o" 1.2
say $? 'exposure of the server unit, at most 1.2' "$o"
healthy() { secmsg admin check --data /var/lib/secmsg >/dev/null 2>&1; }
healthy
say $? 'the server is healthy under its sandbox' "$(secmsg admin check --data /var/lib/secmsg 2>&1)"
o=$(systemctl status secmsg --no-pager)
[[ $o = *'Status: "serves api, relay, media; '* ]]
say $? 'systemctl status shows the state of the server' "$o"

configure() { # appends standard input to the configuration created by init
    cp /var/tmp/config /var/lib/secmsg/config.yaml
    cat >>/var/lib/secmsg/config.yaml
    systemctl restart secmsg
}
cp -p /var/lib/secmsg/config.yaml /var/tmp/config

o=$(journalctl -u secmsg -p warning --no-pager -q -o cat -g 'relayed|address')
[ -n "$o" ]
say $? 'warnings have a priority in the journal' "$(journalctl -u secmsg --no-pager -o cat | tail -5)"
ip addr add 8.1.2.3/32 dev lo # any public address: nothing leaves the guest
printf 'media:\n  public_address: "8.1.2.3"\n' | configure
relays() { secmsg admin stats --data /var/lib/secmsg -o json | jq -e '.warnings | length == 0'; }
until_true relays
say $? 'calls are relayed under the sandbox' "$(secmsg admin stats --data /var/lib/secmsg | head -20)"

echo 'listen_plain: "unix:/run/secmsg/http.sock"' | configure
o=$(perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => "/run/secmsg/http.sock") or die $!; print $s "GET /healthz HTTP/1.0\r\nHost: chat.example.com\r\n\r\n"; print <$s>' 2>&1)
[[ $o = HTTP/1.?' 200'* ]]
say $? 'listen_plain on a Unix socket' "$o"

install -d -m 700 -o secmsg -g secmsg /srv/blobs
mkdir -p /etc/systemd/system/secmsg.service.d
printf '[Service]\nReadWritePaths=/srv/blobs\n' >/etc/systemd/system/secmsg.service.d/blobs.conf
systemctl daemon-reload
printf 'blob:\n  dir: /srv/blobs\n' | configure
o=$(login bob 'secmsg file send alice /etc/hostname -q; echo rc=$?')
[[ $o = *rc=0* && -n $(find /srv/blobs -type f) ]]
say $? 'files in a separate directory' "$o"
rm -r /etc/systemd/system/secmsg.service.d
systemctl daemon-reload
configure </dev/null

systemctl stop secmsg
perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 8443, Listen => 5, ReuseAddr => 1) or die; sleep 8' &
until_true sh -c 'ss -ltn | grep -q :8443'
systemctl start secmsg 2>/dev/null
until_true systemctl -q is-active secmsg
say $? 'a port in use at the start delays the server' "$(systemctl status secmsg --no-pager | tail -5)"
wait
n=$(systemctl show --value -p NRestarts secmsg)
configure <<<'nonsense: true' 2>/dev/null
sleep 5
[ "$(systemctl is-active secmsg)" = failed ] && [ "$(systemctl show --value -p NRestarts secmsg)" -le "$n" ]
say $? 'a wrong option does not cause repeated restarts' "$(systemctl status secmsg --no-pager | tail -5)"
configure </dev/null
say $? 'and once it is fixed the server starts' "$(systemctl status secmsg --no-pager | tail -5)"

p=$(main_pid)
kill -KILL "$p"
back() { [ "$(main_pid)" != "$p" ] && healthy; }
until_true back
say $? 'the server comes back after a kill' "$(systemctl status secmsg --no-pager | tail -5)"
o=$(login bob 'secmsg send alice x --wait server --timeout 100s; echo rc=$?')
[[ $o = *rc=0* ]]
say $? 'and clients with it' "$o"

install -m755 /host/secmsg /usr/local/bin/secmsg
o=$(secmsg admin stats --data /var/lib/secmsg)
[[ $o = *'binary was replaced'* ]]
say $? 'stats warn of a server that runs the binary from before an upgrade' "$o"
systemctl restart secmsg

# The watchdog, with a shorter interval than in the unit.
mkdir -p /run/systemd/system/secmsg.service.d
printf '[Service]\nWatchdogSec=8s\n' >/run/systemd/system/secmsg.service.d/w.conf
systemctl daemon-reload
systemctl restart secmsg
since=$(date +%s)
p=$(main_pid)
sleep 20
[ "$(main_pid)" = "$p" ]
say $? 'the watchdog does not restart a healthy server' "$(journalctl -u secmsg --no-pager -o cat --since "@$since")"
kill -STOP "$p"
until_true back
say $? 'a server that hangs is restarted' "$(journalctl -u secmsg --no-pager -o cat --since "@$since" | tail -5)"
n=$(journalctl -u secmsg --no-pager -q -o cat --since "@$since" | wc -l)
[ "$n" -le 30 ]
say $? 'with few lines in the journal' "$n lines"
rm -r /run/systemd/system/secmsg.service.d
systemctl daemon-reload

systemctl stop secmsg
o=$(journalctl -u secmsg --no-pager -o cat -n 10)
[[ $o = *msg=stopped*'Stopped secmsg.service'* ]]
say $? 'the server stops cleanly' "$o"
systemctl start secmsg
