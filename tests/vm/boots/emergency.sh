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
  local status=0
  "$vm_dir/run" --boot "$work/boot" --attach "$work/disk" --timeout 600 --serial "$work/serial" \
    --append "root=UUID=$uuid rootflags=subvol=root rd.emergency=poweroff rd.shell=0" -- true >"$work/out" 2>"$work/err" ||
    status=$?
  if [[ $status == 125 ]] && grep -q 'was written to' "$work/serial"; then
    echo 'an emergency: root was not mounted, and the console says why'
  else
    echo "an emergency: FAILED: status $status, wanted 125"
    failures=$((failures + 1))
    tail -n 40 "$work/serial" >&2
  fi
}
