# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# Without systemd nobody corrects a clock that was never set: two resets in 1970.
test_initramfs_tools() {
  install_machine initramfs-tools
  # Nothing may be mounted before a hibernated system was looked for.
  # shellcheck disable=SC2016 # for the machine's shell
  inside "$work/disk" '
    unmkinitramfs /boot/initrd.img-* /tmp/initrd
    order=$(cat /tmp/initrd/scripts/local-premount/ORDER)
    [[ $order == */resume*/state* ]]
  ' || die "initramfs-tools does not resume before the reset"
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--clock 1970-01-01T00:00:00)
  boot 'initramfs-tools, in 1970' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'when nobody knew the time' says '"at": "1970-01-01T' cat /run/state/reset.json
    check 'the persist tree is in place' ends 0 state mount
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
GUEST
  boot 'in 1970 again' <<'GUEST'
    check 'the clutter is gone' not test -e /etc/clutter
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'this boot was reset' ends 0 state status
    check 'when nobody knew the time' says '"at": "1970-01-01T' cat /run/state/reset.json
    check 'no past root took the name of another' test "$(state roots list --json | grep -c '"name": *"19700101T')" = 2
    check 'and none is deleted for its age' ends 0 state roots gc
    check 'both are there' test "$(state roots list --json | grep -c '"name": *"19700101T')" = 2
    check 'the clutter among them' says clutter state roots diff latest
GUEST
}
