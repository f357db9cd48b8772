# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# What only a booted machine shows of the persist tree: its first boot, programs that replace /etc/passwd by renaming, and
# a service that needs its keys. Blank has neither keys nor an id, so nothing but the store can have brought them.
test_persist() {
  install_machine dracut
  inside "$work/disk" '
    sed -i "s|^files = \[|&\n  { path = \"/etc/passwd\", method = \"copy\" },|" /persist/etc/state/state.toml
    cp -a --parents /etc/passwd /persist
    rm /etc/ssh/ssh_host_* /persist/etc/machine-id
    echo uninitialized >/etc/machine-id
    state init --install-boot=dracut
    state --yes blank take
  ' >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2 && die "the machine could not be changed"; }
  # shellcheck disable=SC2016 # for the machine's shell
  local keys='
    key_of_sshd() { ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | cut -d" " -f3; }
    key_in_store=$(cut -d" " -f2 /persist/etc/ssh/ssh_host_ed25519_key.pub)
    check "sshd has started" systemctl is-active ssh.service
    check "with its key from the store" test "$(key_of_sshd)" = "$key_in_store"
  '
  # Its clock was never set: systemd corrects that to the day on which it was built, which is long ago.
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--clock 1970-01-01T00:00:00)
  boot 'the first boot of a machine, in 1970' < <(printf '%s' "$keys" && cat <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'when nobody knew the time' test "$(date +%s)" -lt "$(stat -c %Z /usr/local/bin/state)"
    date +%Y%m%d >/persist/day-was
    check 'the machine has an id' grep -Eqx '[0-9a-f]{32}' /etc/machine-id
    check 'and the store has it' cmp /etc/machine-id /persist/etc/machine-id
    cat /etc/machine-id >/persist/machine-id-was
    printf '%s\n' '[Service]' Type=oneshot 'ExecStart=usermod --comment "by a service" games' >/run/systemd/system/renames.service
    check 'a service replaces /etc/passwd' systemctl start renames.service
    check 'by another file' grep -q 'by a service' /etc/passwd
    for _ in {1..50}; do grep -q 'by a service' /persist/etc/passwd && break; sleep 0.2; done
    check 'which is saved' cmp /etc/passwd /persist/etc/passwd
    usermod --comment 'right before the end' games
GUEST
  )
  # shellcheck disable=SC2034 # boot uses it
  more_disks=()
  boot 'its second boot, when the time is known' < <(printf '%s' "$keys" && cat <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'and was from the very start' says "$(cat /persist/machine-id-was)" journalctl -b -o json -n 1 --output-fields=_MACHINE_ID
    check 'what changed last is there' grep -q 'right before the end' /etc/passwd
    check 'the root of that day is a past root' says "\"name\": \"$(cat /persist/day-was)T" state roots list --json
    check 'and not deleted for its age' ends 0 state roots gc
    check 'it is there' says "\"name\": \"$(cat /persist/day-was)T" state roots list --json
GUEST
  )
}
