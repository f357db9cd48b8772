# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

test_initramfs_tools() {
  install_machine initramfs-tools
  boot 'a machine with initramfs-tools' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'the persist tree is in place' ends 0 state mount
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
GUEST
  boot 'after it' <<'GUEST'
    check 'the clutter is gone' not test -e /etc/clutter
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'this boot was reset' ends 0 state status
GUEST
}
