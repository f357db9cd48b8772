# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# on-failure = "emergency": root is never mounted, so nothing in it runs.
test_emergency() {
  install_machine dracut
  inside "$work/disk" '
    sed -i "/^past-roots/a on-failure = \"emergency\"" /persist/etc/state/state.toml
    state init --install-boot=dracut
    mount --mkdir -o subvolid=5 /dev/disk/by-uuid/* /tmp/top
    btrfs property set -f /tmp/top/root-blank ro false
    umount /tmp/top
  ' >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2 && die "the machine could not be changed"; }
  does_not_boot 'an emergency' 'was written to'
}
