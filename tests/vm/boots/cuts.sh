# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# The power fails between two acts of a reset. `strace` holds the program right before a renameat2, or stops it right after
# one; then the machine is killed, and what its disk acknowledged is all there is. The next boot has to finish. A call is known
# by its arguments: for a moment every call is a line that has not ended.
cut_at() { # NUMBER...
  local cuts=(
    'blank is copied, the copy has no other name yet|inject=renameat2:delay_enter=600000000:when=1|renameat2\([^)]*$'
    'exchanged, not committed|inject=renameat2:signal=SIGSTOP:when=1|stopped by SIGSTOP'
    'exchanged and committed|inject=renameat2:delay_enter=600000000:when=2|renameat2\([^)]*"[0-9]{8}T'
    'put away, not committed|inject=renameat2:signal=SIGSTOP:when=2|stopped by SIGSTOP'
    'all done, nothing recorded|inject=rename:delay_enter=600000000:when=1|rename\([^)]*$'
  )
  local each="" what inject sign number=0 status
  install_machine dracut
  boot 'a machine that is lived in' <<'GUEST'
    echo 'clutter 0' >/etc/clutter
    cat /etc/machine-id >/persist/machine-id-was
GUEST
  for each; do
    IFS='|' read -r what inject sign <<<"${cuts[each]}"
    drop_in state-reset.service ExecStart= "ExecStart=/usr/bin/strace -o /dev/console -e trace=renameat2,rename -e $inject \
/usr/bin/state --config /etc/state/state.toml reset"
    status=0
    "$vm_dir/run" --boot "$work/cut" --attach "$work/disk" --timeout 600 --serial "$work/serial" --kill-after-serial "$sign" \
      --append "root=UUID=$uuid rootflags=subvol=root" -- true >"$work/out" 2>"$work/err" || status=$?
    [[ $status == 137 ]] || {
      echo "cut: $what: FAILED: status $status, wanted 137"
      failures=$((failures + 1))
      tail -n 40 "$work/serial" >&2
    }
    boot "cut: $what" "vm.number=$number" <<'GUEST'
      number=$(grep -o 'vm.number=[0-9]*' /proc/cmdline) && number=${number#*=}
      check 'this boot was reset' ends 0 state status
      check 'the clutter is gone' not test -e /etc/clutter
      check 'the persist tree is there' cmp /etc/machine-id /persist/machine-id-was
      mount -o subvolid=5 "$(findmnt -no SOURCE / | sed 's/\[.*//')" /mnt
      found=$(grep -lx "clutter $number" /mnt/past-roots/*/etc/clutter | wc -l)
      check 'the outgoing root is put away once' test "$found" = 1
      check 'nothing is left over' not test -e /mnt/root.new
      umount /mnt
      echo "clutter $((number + 1))" >/etc/clutter
GUEST
    number=$((number + 1))
  done
}

test_every_cut() { cut_at 0 1 2 3 4; }

# The same, for any backend: every cut begins with the same disk, and what it left is checked by after-cut, without booting it.
held_cuts() { # BACKEND DISK CUT...
  local backend=$1 disk=$2 copies=$work/copies disks=() each what inject sign wanted status number=0 came cuts
  shift 2
  cuts=("$@")
  # systemd leaves $ and % where they are twice.
  drop_in state-reset.service ExecStart= "ExecStart=/bin/sh -c 'read -r words </proc/cmdline; inject=\$\${words##*vm.inject=}; \
exec strace -o /dev/console -e trace=renameat2,rename -e inject=\$\${inject%%%% *} /usr/bin/state --config /etc/state/state.toml reset'"
  make_copies "$disk"
  for each in "${cuts[@]}"; do
    IFS='|' read -r what inject sign wanted <<<"$each"
    copy before disk
    status=0
    "$vm_dir/run" --boot "$work/cut" "${disks[@]}" --timeout 600 --serial "$work/serial" --kill-after-serial "$sign" \
      --append "$root_words vm.inject=$inject" -- true >"$work/out" 2>"$work/err" || status=$?
    [[ $status == 137 ]] || {
      tail -n 40 "$work/serial" "$work/err" >&2
      die "$backend, cut: $what: status $status, wanted 137"
    }
    copy disk "checked$number"
    number=$((number + 1))
  done
  mapfile -t came < <("after_cuts_$backend" "$number")
  for each in "${!cuts[@]}"; do
    IFS='|' read -r what inject sign wanted <<<"${cuts[each]}"
    if [[ ${came[each]-nothing} =~ ^($wanted)$ ]]; then
      echo "$backend, cut: $what: ${came[each]}"
    else
      echo "$backend, cut: $what: FAILED: ${came[each]-nothing}"
      failures=$((failures + 1))
    fi
  done
  umount "$copies"
  rm -r "$copies" "$copies.img"
}

test_cuts() {
  local first='renameat2\(' exchange='renameat2\([^)]*EXCHANGE' away='renameat2\([^)]*"[0-9]{8}T' after='stopped by SIGSTOP'
  install_machine dracut
  boot 'a machine that is lived in' <<<"$lived_in"
  held_cuts btrfs "$work/disk" \
    "blank is copied, the copy has no other name yet|renameat2:delay_enter=600000000:when=1|$exchange|untouched|staged" \
    "exchanged, not committed|renameat2:signal=SIGSTOP:when=1|$after|untouched|staged|replaced" \
    "exchanged and committed|renameat2:delay_enter=600000000:when=2|$away|replaced" \
    "put away, not committed|renameat2:signal=SIGSTOP:when=2|$after|replaced|put-away" \
    'all done, nothing recorded|rename:delay_enter=600000000:when=1|rename\([^)]*$|put-away'
  install_overlay
  root_words+=" ro"
  boot 'an overlay that is lived in' <<<"$lived_in"
  held_cuts overlay "$work/layers" \
    "the new layers are made and have no name|renameat2:delay_enter=600000000:when=1|$first|untouched" \
    "they have one|renameat2:delay_enter=600000000:when=2|$exchange|untouched|staged" \
    "exchanged, not committed|renameat2:signal=SIGSTOP:when=2|$after|untouched|staged|replaced" \
    "exchanged and committed|renameat2:delay_enter=600000000:when=3|$away|replaced" \
    "put away, not committed|renameat2:signal=SIGSTOP:when=3|$after|replaced|put-away" \
    'all done, nothing recorded|rename:delay_enter=600000000:when=1|rename\([^)]*$|put-away'
}

# A reset comes to its limit of time in the middle of an act. Root is mounted when it has ended, not before: it would be the
# outgoing one, under another name.
test_slow() {
  install_machine dracut
  boot 'a machine that is lived in' <<'GUEST'
    echo clutter >/etc/clutter
GUEST
  drop_in state-reset.service TimeoutStartSec=60 ExecStart= "ExecStart=/usr/bin/strace -D -o /dev/console -e trace=renameat2 \
-e inject=renameat2:delay_enter=100000000:when=1 /usr/bin/state --config /etc/state/state.toml reset"
  mv "$work/boot/initrd" "$work/usual"
  mv "$work/cut/initrd" "$work/boot/initrd"
  boot 'too slow' <<'GUEST'
    check 'the limit was reached' says 'timed out' journalctl -b -u state-reset.service
    check 'the act was finished before root was mounted' not test -e /etc/clutter
    check 'root is root' says '[/root]' findmnt -no SOURCE /
    check 'the persist tree is in place' ends 0 state mount
    check 'status wants attention' ends 5 state status
    check 'and says why' says interrupted state status
    check 'state-check has failed' systemctl is-failed state-check.service
    echo more >/etc/more
GUEST
  mv "$work/usual" "$work/boot/initrd"
  boot 'after it' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'root is blank' not test -e /etc/more
    mount -o subvolid=5 "$(findmnt -no SOURCE / | sed 's/\[.*//')" /mnt
    check 'what was put away is there' test "$(cat /mnt/past-roots/*/etc/clutter)" = clutter
    check 'and what was lived in meanwhile' test "$(cat /mnt/past-roots/*/etc/more)" = more
    check 'nothing is left over' not test -e /mnt/root.new
GUEST
}
