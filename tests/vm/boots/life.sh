# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# One machine, one boot after the other: what each is called, the words on its kernel command line, what is checked in it.
test_life() {
  install_machine dracut
  boot 'the first boot' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'state-check agrees' systemctl is-active state-check.service
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    check 'the persist tree is in place' ends 0 state mount
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
    mkdir -p '/opt/a b/c'
    btrfs -q subvolume create '/opt/a b/c/nested'
    echo deep >'/opt/a b/c/nested/file'
    rm /etc/issue
    echo kept >/persist/kept
GUEST
  boot 'after it' <<'GUEST'
    check 'the clutter is gone' not test -e /etc/clutter
    check 'also in nested subvolumes' not test -e '/opt/a b'
    check 'what was deleted is back' test -s /etc/issue
    check 'the persist tree is there' grep -qx kept /persist/kept
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'and was from the very start' says "$(cat /persist/machine-id-was)" journalctl -b -o json -n 1 --output-fields=_MACHINE_ID
    check 'this boot was reset' ends 0 state status
    check 'and it says so' says reset state status
    check 'the next one will be, too' says 'boot, initrd, kernels, clock' state doctor
    past=$(state roots list --json | grep -o '"name": *"[^"]*"' | cut -d'"' -f4 | sort | tail -n 1)
    check 'there is a past root' test -n "$past"
    echo "  past $past"
    mount -o "subvol=past-roots/$past" "$(findmnt -no SOURCE / | sed 's/\[.*//')" /mnt
    check 'it holds the clutter' grep -qx clutter /mnt/etc/clutter
    check 'and its nested subvolumes' grep -qx deep '/mnt/opt/a b/c/nested/file'
    grep -o '"took_us": [0-9]*' /run/state/reset.json | sed 's/^/  reset /'
    echo more >/etc/more
GUEST
  local past
  past=$(sed -n 's/^  past //p' "$work/out")
  boot 'state.skip' state.skip <<'GUEST'
    check 'root is as it was' grep -qx more /etc/more
    check 'the persist tree is in place' systemctl is-active state-mount.service
    check 'status wants attention' ends 5 state status
    check 'and says why' says state.skip state status
    check 'state-check has failed' systemctl is-failed state-check.service
GUEST
  boot 'the unit does not run' rd.systemd.mask=state-reset.service <<'GUEST'
    check 'root is as it was' grep -qx more /etc/more
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'no reset ran' state status
GUEST
  boot 'a past root' "state.root=past/$past" <<'GUEST'
    check 'what was thrown away is back' grep -qx clutter /etc/clutter
    check 'what came after it is not there' not test -e /etc/more
    check 'nothing was written below the persist tree' systemctl is-active state-mount.service
    check 'status is content' ends 0 state status
    check 'and says from what' says past state status
    # The next boot has a blank that somebody wrote to.
    mount -o subvolid=5 "$(findmnt -no SOURCE / | sed 's/\[.*//')" /mnt
    btrfs property set -f /mnt/root-blank ro false
    touch /mnt/root-blank/touched
GUEST
  boot 'a reset that fails' <<'GUEST'
    check 'root is as it was' grep -qx clutter /etc/clutter
    check 'the persist tree is in place' ends 0 state mount
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'was written to' state status
    check 'state-check has failed' systemctl is-failed state-check.service
    rm /etc/clutter
    check 'a new blank is taken' ends 0 state --yes blank take
GUEST
  if grep -q 'was written to' "$work/serial"; then
    echo '  ok: the console says why'
  else
    echo '  FAILED: the console does not say why'
    failures=$((failures + 1))
  fi
  boot 'a new blank' <<'GUEST'
    check 'this boot was reset' ends 0 state status
GUEST
}
