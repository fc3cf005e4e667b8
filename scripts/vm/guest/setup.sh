# Run once in the guest: sets up the server with the unit in serverd/OPERATIONS.md, alice and
# bob as mutual contacts, and an invite for further users.
set -e
install -m755 /host/secmsg /usr/local/bin/secmsg
# The unit is the first indented block after the unit's path.
awk '/^`\/etc\/systemd\/system\/secmsg.service`/ { unit = 1; next }
     unit && /^[^ ]/ { exit }
     unit { sub(/^    /, ""); print }' /host/OPERATIONS.md >/etc/systemd/system/secmsg.service
useradd --system --home-dir /var/lib/secmsg --shell /usr/sbin/nologin secmsg
install -d -m 0700 -o secmsg -g secmsg /var/lib/secmsg
runuser -u secmsg -- secmsg serverd init --domain chat.example.com --data /var/lib/secmsg -o json >/dev/null
systemctl daemon-reload
systemctl enable --now secmsg.service
secmsg admin invite create --data /var/lib/secmsg --uses 20 -q >/var/tmp/invite
ssh alice@localhost "secmsg join '$(cat /var/tmp/invite)' --name alice -q"
ssh bob@localhost "secmsg join '$(cat /var/tmp/invite)' --name bob -q; secmsg contact add alice -q; secmsg send alice hello -q"
ssh alice@localhost "secmsg contact add bob -q; secmsg send bob hello -q; secmsg inbox -q" >/dev/null
