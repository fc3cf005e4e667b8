# Functions of the trials. Each trial prints one line, ok or FAULT, with say. Nothing here
# measures time: waits end when their condition holds, or after a generous bound.

patience=120 # seconds that one wait may take on an emulated, loaded machine
faults=0
trials=0

# say STATUS NAME DETAIL prints the result of a trial, whose test exited with STATUS.
say() {
    trials=$((trials + 1))
    if [ "$1" = 0 ]; then
        echo "ok     $2"
    else
        faults=$((faults + 1))
        echo "FAULT  $2: $(tr '\n' '|' <<<"$3" | tail -c 700)"
    fi
}

# until_true COMMAND... waits until the command succeeds.
until_true() {
    local end=$((SECONDS + patience))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.5
    done
}

# login USER COMMAND runs it in a real login session, which ends with the command.
login() { timeout $patience ssh "$1@localhost" "$2" 2>&1; }

# job USER COMMAND runs it like cron: without a session and with a minimal environment.
job() {
    (cd "/home/$1" && timeout $patience runuser -u "$1" -- env -i HOME="/home/$1" LOGNAME="$1" PATH=/usr/local/bin:/usr/bin:/bin SHELL=/bin/sh sh -c "$2") 2>&1
}

# cron USER COMMAND runs it by cron itself, now instead of at the next boot.
cron() {
    local out=/var/tmp/cron.$1
    rm -f "$out" "$out.rc"
    install -m 666 /dev/null "$out"
    printf 'PATH=/usr/local/bin:/usr/bin:/bin\n@reboot %s\n' "($2) >$out 2>&1; echo \$? >$out.rc.part; mv $out.rc.part $out.rc" | crontab -u "$1" -
    rm -f /run/crond.reboot
    systemctl restart cron
    until_true test -e "$out.rc"
    crontab -u "$1" -r
    cat "$out"
    [ "$(cat "$out.rc")" = 0 ]
}

# unit USER PROPERTY... -- COMMAND runs it in a system unit of its own, with User=.
unit() {
    local user=$1 properties=()
    shift
    while [ "$1" != -- ]; do
        properties+=("-p" "$1")
        shift
    done
    shift
    timeout $patience systemd-run --quiet --wait --pipe --collect --service-type=oneshot --uid="$user" "${properties[@]}" "$@" 2>&1
}

uid() { id -u "$1"; }
gone() { until_true test ! -e "/run/user/$(uid "$1")"; }
lingers() {
    loginctl enable-linger "$1"
    until_true test -S "/run/user/$(uid "$1")/systemd/private"
}

# pid USER prints the daemon's pid from its lock, or nothing if no daemon runs.
pid() {
    local p _
    read -r p _ 2>/dev/null <"/home/$1/.local/share/secmsg/daemon.lock" || return 0
    [ -e "/proc/$p/exe" ] && [[ $(tr '\0' ' ' <"/proc/$p/cmdline") = *"daemon run"* ]] && echo "$p"
}
no_daemon() { [ -z "$(pid "$1")" ]; }
in_cgroup() { grep -q "$2" "/proc/$(pid "$1")/cgroup"; } # USER PART
ask() { job "$1" 'secmsg --no-autostart status' | grep -q ' connected'; }
main_pid() { systemctl show --value -p MainPID secmsg.service; }

# fresh USER resets: nobody is logged in, nothing runs, nothing is installed.
fresh() {
    local p
    job "$1" 'secmsg daemon uninstall -q' >/dev/null
    loginctl disable-linger "$1"
    loginctl terminate-user "$1" 2>/dev/null
    systemctl stop "user@$(uid "$1").service"
    p=$(pid "$1")
    [ -z "$p" ] || kill "$p"
    until_true no_daemon "$1" || kill -KILL "$(pid "$1")"
    gone "$1"
    rm -rf "/home/$1/.config/systemd"
    install -m755 /host/secmsg /usr/local/bin/secmsg
}

# score FILE... prints the exposure level of systemd-analyze security.
score() { SYSTEMD_COLORS=0 systemd-analyze "$@" --no-pager | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p'; }
at_most() { awk "BEGIN { exit !(\"$1\" != \"\" && $1 + 0 <= $2) }"; }
