# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# A root in memory: filled in the initrd from a blank tree, and captured when the machine goes down. Blank and the store are
# in the subvolume `persist`; what was root when the machine was installed is not looked at any more.
install_in_memory() {
  rm -rf "${work:?}/boot"
  mkdir -p "$work/boot"
  cp "$machine/vmlinuz" "$work/boot/"
  cp --sparse=always "$machine/disk" "$work/disk"
  inside "$work/disk" "
    install -m 755 /tmp/state /usr/local/bin/
    echo 'UUID=$uuid /persist btrfs subvol=persist,x-initrd.mount 0 0' >/etc/fstab
    mkdir -p /persist/etc/state
    cat >/persist/etc/state/state.toml <<TOML
[root]
backend = \"tmpfs\"
size = \"80%\"
device = \"/dev/disk/by-uuid/$uuid\"
blank = \"persist/blank\"
capture = { max-bytes = \"16 MiB\", time-limit = 600 }
[persist.\"/persist\"]
directories = [\"/var/log\"]
files = [\"/etc/machine-id\"]
TOML
    cp -a --parents /var/log /etc/machine-id /persist
    state init --install-boot=dracut
    state --yes blank take
  " >"$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    die "the machine could not be installed"
  }
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--memory 1536M)
}

test_tmpfs() {
  install_in_memory
  boot 'in memory: the first boot' <<'GUEST'
    check 'root is in memory' says tmpfs findmnt -no FSTYPE /
    check 'mounted as a root must be' test "$(stat -c %a /)" = 755
    check 'this boot was reset' ends 0 state status
    check 'from blank' says blank state status
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    check 'the persist tree is in place' ends 0 state mount
    check 'nothing else is mounted there' not says subvol=/root findmnt
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
    echo kept >/persist/kept
    mkdir -p '/opt/a b/c'
    echo deep >'/opt/a b/c/file'
    chmod 4750 '/opt/a b/c/file'
    dd if=/dev/urandom of=/opt/big bs=1M count=24 status=none
    rm /etc/issue
    grep -o '"took_us": [0-9]*' /run/state/reset.json | sed 's/^/  looking /'
GUEST
  boot 'after it' <<'GUEST'
    check 'the clutter is gone' not test -e /etc/clutter
    check 'what was deleted is back' test -s /etc/issue
    check 'the persist tree is there' grep -qx kept /persist/kept
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'this boot was reset' ends 0 state status
    check 'a past root was captured' test "$(state roots list --json | grep -c '"sequence"')" = 1
    check 'which holds the clutter' says clutter state roots diff latest
    check 'and not what does not fit' not says big state roots diff latest
    check 'as was said' says 'left out: /opt/big' journalctl -b -1 -u state-capture.service
    check 'it comes back' ends 0 state roots recover '/opt/a b'
    check 'as it was' test "$(cat '/opt/a b/c/file') $(stat -c %a '/opt/a b/c/file')" = 'deep 4750'
GUEST
  boot 'nobody looks' systemd.mask=state-reset.service <<'GUEST'
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'nothing has looked since' state status
    check 'state-check has failed' systemctl is-failed state-check.service
    mount -o subvolid=5 "/dev/disk/by-uuid/$(cat /usr/lib/state-vm/uuid)" /mnt
    sed -i 's/subvol=persist,/subvol=lost,nofail,/' /mnt/persist/blank/etc/fstab
GUEST
  boot 'the store is missing' <<'GUEST'
    check 'the reset has failed' systemctl is-failed state-reset.service
    check 'its record says so' grep -E '"outcome": "(failed|refused)"' /run/state/reset.json
    check 'status is not content' not state status
    check 'state-check has failed' systemctl is-failed state-check.service
    mount -o subvolid=5 "/dev/disk/by-uuid/$(cat /usr/lib/state-vm/uuid)" /mnt
    sed -i 's/subvol=lost,nofail,/subvol=persist,/' /mnt/persist/blank/etc/fstab
GUEST
  cut_while_filling
  boot 'after a cut while root was filled' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'a new blank is taken' ends 0 state --yes blank take
    check 'beside the previous one' test -d /persist/blank-previous/etc
    mv /persist/blank /persist/blank.new
GUEST
  boot 'a blank without its name' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'it has its name' test -d /persist/blank/etc
    mv /persist/blank /persist/elsewhere
GUEST
  local status=0
  "$vm_dir/run" --boot "$work/boot" --attach "$work/disk" "${more_disks[@]}" --timeout 300 --serial "$work/serial" \
    --append "root=UUID=$uuid rootflags=subvol=root rd.emergency=poweroff rd.shell=0" -- true >"$work/out" 2>"$work/err" ||
    status=$?
  if [[ $status == 125 ]] && grep -q 'blank does not exist' "$work/serial"; then
    echo 'no blank: nothing was started, and the console says why'
  else
    echo "no blank: FAILED: status $status, wanted 125"
    failures=$((failures + 1))
    tail -n 40 "$work/serial" >&2
  fi
}

# The power fails while root is filled: `strace` holds the program in the middle, and the machine is killed.
cut_while_filling() {
  local status=0
  drop_in state-fill.service ExecStart= "ExecStart=/usr/bin/strace -o /dev/console -e trace=symlinkat \
-e inject=symlinkat:delay_enter=600000000:when=20 /usr/bin/state --config /etc/state/state.toml reset"
  "$vm_dir/run" --boot "$work/cut" --attach "$work/disk" "${more_disks[@]}" --timeout 300 --serial "$work/serial" \
    --kill-after-serial 'symlinkat\([^)]*$' --append "root=UUID=$uuid rootflags=subvol=root" -- true >"$work/out" 2>"$work/err" ||
    status=$?
  [[ $status == 137 ]] || {
    echo "a cut while root was filled: FAILED: status $status, wanted 137"
    failures=$((failures + 1))
    tail -n 40 "$work/serial" >&2
  }
}
