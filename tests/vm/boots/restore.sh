# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# A store that is in use is restored: nothing changes until the next boot, which exchanges it in the initrd, and `state undo` goes
# back the same way. Data is `archived`, `mine` when it is restored, `later` when the machine goes down.
machine_that_restores() { # WHICH
  boot "$1: a store in use is restored" <<'GUEST'
    mount -t tmpfs usb /mnt && mkdir -p /var/lib/app
    echo archived >/var/lib/app/data
    check 'what is declared' ends 0 state --yes keep /var/lib/app
    check 'is saved' ends 0 state --yes backup --to file:///mnt
    echo mine >/var/lib/app/data
    restore='state --yes restore --from file:///mnt --allow-unsigned'
    check 'a plan says when' says 'at the next boot' $restore --dry-run
    check 'nothing is exchanged under its users' ends 4 $restore --now
    check 'a restore' ends 0 $restore
    check 'leaves the store as it is' grep -qx mine /var/lib/app/data
    check 'and says what comes' says 'the next boot puts' state status
    check 'which is nothing to worry about' ends 0 state status
    echo later >/var/lib/app/data
GUEST
}

# There, and back again.
exchanged_and_back() { # WHICH
  machine_that_restores "$1"
  boot "$1: the boot after a restore" <<'GUEST'
    check 'what was restored is there' grep -qx archived /var/lib/app/data
    check 'in the store' grep -qx archived /persist/var/lib/app/data
    check 'this boot was reset, and all is in place' ends 0 state status
    check 'and it says so' says 'this boot put what was restored' state status
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    check 'undo' says 'waits for the next boot' state --yes undo
    check 'undo is undone' says 'called off' state --yes undo
    check 'undo again' says 'waits for the next boot' state --yes undo
    check 'leaves the store as it is' grep -qx archived /var/lib/app/data
GUEST
  boot "$1: the boot after undo" <<'GUEST'
    check 'what was there is back' grep -qx later /var/lib/app/data
    check 'this boot was reset, and all is in place' ends 0 state status
    check 'and it says so' says 'this boot put what `state undo`' state status
    check 'undo' says 'waits for the next boot' state --yes undo
GUEST
}

test_live_restore() {
  install_machine dracut
  exchanged_and_back btrfs
  # Somebody deletes what waits.
  # shellcheck disable=SC2016 # for the machine's shell
  inside "$work/disk" '
    mount -o subvolid=5 "$(findmnt -no SOURCE / | sed "s/\[.*//")" /mnt
    btrfs subvolume delete /mnt/.state/stores/persist/returning
  ' >/dev/null
  boot 'btrfs: what waited is gone' <<'GUEST'
    check 'what was there still is' grep -qx later /var/lib/app/data
    check 'the persist tree is in place' ends 0 state mount
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'was to take its place and is gone' state status
GUEST
}

# The top of a dataset cannot be renamed: its children are exchanged.
test_live_restore_zfs() {
  install_zfs_machine
  exchanged_and_back ZFS
}

# The machine is killed between the acts of such a boot, and once more with every tree there and back.
restore_cut_at() { # NUMBER...
  local cuts=(
    'nothing is renamed yet|inject=renameat2:delay_enter=600000000:when=1|renameat2\([^)]*$'
    'it has its last name but one, not committed|inject=renameat2:signal=SIGSTOP:when=1|stopped by SIGSTOP'
    'exchanged, not committed|inject=renameat2:signal=SIGSTOP:when=2|stopped by SIGSTOP'
    'exchanged and committed|inject=renameat2:delay_enter=600000000:when=3|renameat2\([^)]*"replaced"'
    'put away, not committed|inject=renameat2:signal=SIGSTOP:when=3|stopped by SIGSTOP'
    'all done, nothing recorded|inject=rename:delay_enter=600000000:when=1|rename\([^)]*$'
  )
  local each="" what inject sign status wanted=archived other=later
  install_machine dracut
  machine_that_restores btrfs
  for each; do
    IFS='|' read -r what inject sign <<<"${cuts[each]}"
    drop_in state-mount-early.service ExecStart= "ExecStart=/usr/bin/strace -o /dev/console -e trace=renameat2,rename -e $inject \
/usr/bin/state --root /sysroot --config /etc/state/state.toml mount --early"
    status=0
    "$vm_dir/run" --boot "$work/cut" --attach "$work/disk" --timeout 600 --serial "$work/serial" --kill-after-serial "$sign" \
      --append "$root_words" -- true >"$work/out" 2>"$work/err" || status=$?
    [[ $status == 137 ]] || {
      echo "cut: $what: FAILED: status $status, wanted 137"
      failures=$((failures + 1))
      tail -n 40 "$work/serial" >&2
    }
    boot "cut: $what" "vm.wanted=$wanted" <<'GUEST'
      wanted=$(grep -o 'vm.wanted=[a-z]*' /proc/cmdline) && wanted=${wanted#*=}
      check "the store holds what is $wanted" grep -qx "$wanted" /var/lib/app/data
      check 'this boot was reset, and all is in place' ends 0 state status
      mount -o subvolid=5 "$(findmnt -no SOURCE / | sed 's/\[.*//')" /mnt
      check 'one other tree is there' test "$(ls /mnt/.state/stores/persist)" = replaced
      check 'undo' says 'waits for the next boot' state --yes undo
GUEST
    read -r wanted other <<<"$other $wanted"
  done
}

test_restore_cuts() { restore_cut_at 0 1 2 3 4 5; }
