# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# An overlay root: the installed system stays what it is, and a second disk holds layers and store.
install_overlay() {
  local layers=6d1f7c52-3b0e-4a58-9c6b-2f1d0e9a8b7c
  rm -rf "${work:?}/boot"
  mkdir -p "$work/boot"
  cp "$machine/vmlinuz" "$work/boot/"
  cp --sparse=always "$machine/disk" "$work/disk"
  truncate -s 512M "$work/layers"
  mkdir -p "$work/store/etc/ssh"
  mkfs.ext4 -q -F -U "$layers" -d "$work/store" "$work/layers"
  inside "$work/disk" "
    install -m 755 /tmp/state /usr/local/bin/
    umount /persist
    echo 'UUID=$layers /persist ext4 x-initrd.mount 0 0' >/etc/fstab
    mkdir -p /etc/state
    cat >/etc/state/state.toml <<TOML
[root]
backend = \"overlay\"
device = \"/dev/disk/by-uuid/$layers\"
[persist.\"/persist\"]
directories = [\"/var/log\"]
files = [\"/etc/machine-id\"]
TOML
    state init --install-boot=dracut
  " >"$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    die "the machine could not be installed"
  }
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--attach "$work/layers")
}

test_overlay() {
  install_overlay
  boot 'an overlay: the first boot' ro <<'GUEST'
    check 'root is an overlay' says overlay findmnt -no FSTYPE /
    check 'this boot was reset' ends 0 state status
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    check 'the persist tree is in place' ends 0 state mount
    check 'what is installed cannot be written' not touch /run/state/overlay/lower/spoilt
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
    rm /etc/issue
    echo kept >/persist/kept
GUEST
  boot 'after it' ro <<'GUEST'
    check 'the clutter is gone' not test -e /etc/clutter
    check 'what was deleted is back' test -s /etc/issue
    check 'the persist tree is there' grep -qx kept /persist/kept
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'this boot was reset' ends 0 state status
    check 'and so was each before it' not says 'of the last' state status
    check 'the store remembers them' grep -q '"outcome": "reset"' /persist/.state/boots.json
    check 'the diff of the past root names the clutter' says 'clutter' state roots diff latest
    check 'and brings it back' ends 0 state roots recover /etc/clutter
    check 'it is back' grep -qx clutter /etc/clutter
GUEST
  boot 'an overlay: state.skip' 'ro state.skip' <<'GUEST'
    check 'root is as it was' grep -qx clutter /etc/clutter
    check 'status wants attention' ends 5 state status
GUEST
  # A write to what is installed would stay for ever, and no past root would fit it any more: the boot after this one boots one.
  boot 'an overlay that is not mounted' 'ro rd.systemd.mask=state-reset.service' <<'GUEST'
    mount -t tmpfs scratch /tmp
    check 'what is installed runs' not says overlay findmnt -no FSTYPE /
    check 'and cannot be written' not touch /spoilt
    check 'the store is there' test -s /persist/machine-id-was
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'no reset ran at this boot' state status
GUEST
  boot 'an overlay: a past root' 'ro state.root=past/latest' <<'GUEST'
    check 'status is content' ends 0 state status
    check 'and says from what' says past state status
    check 'and that not all boots were reset' says 'boots    2 of the last 5 not reset' state status
    check 'what was thrown away is back' grep -qx clutter /etc/clutter
GUEST
  boot 'an overlay that can be written below' rw <<'GUEST'
    check 'it boots on, as it was' grep -qx clutter /etc/clutter
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'mounted writable' state status
GUEST
}
