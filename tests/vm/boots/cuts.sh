# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# The power fails between two acts of a reset. `strace` holds the program right before a renameat2, or stops it right after
# one; then the machine is killed, and what its disk acknowledged is all there is. The next boot has to finish.
cut_at() { # NUMBER...
  local cuts=(
    'blank is copied, the copy has no other name yet|inject=renameat2:delay_enter=600000000:when=1|renameat2\([^)]*$'
    'exchanged, not committed|inject=renameat2:signal=SIGSTOP:when=1|stopped by SIGSTOP'
    'exchanged and committed|inject=renameat2:delay_enter=600000000:when=2|renameat2\([^)]*$'
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

# The two at which what was done is not on the disk yet.
test_cuts() { cut_at 1 3; }

test_every_cut() { cut_at 0 1 2 3 4; }
