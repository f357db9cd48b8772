# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# A hibernated system still has root open: nothing may touch root before the kernel has looked for it.
test_hibernation() {
  local status=0
  install_machine dracut
  # By the unit graph of the initrd as it was built.
  # shellcheck disable=SC2016 # for the machine's shell
  inside "$work/disk" '
    unit() { lsinitrd -f "usr/lib/systemd/system/$1" /boot/initrd.img-*; }
    reset=$(unit state-reset.service) resume=$(unit systemd-hibernate-resume@.service)
    grep -qE "^After=.*local-fs-pre\.target" <<<"$reset"
    grep -qE "^Before=.*local-fs-pre\.target" <<<"$resume"
    ! grep -qE "^(Before=.*local-fs-pre|DefaultDependencies=yes)" <<<"$reset"
  ' || die "the initrd does not resume before the reset"
  truncate -s 1536M "$work/swap"
  mkswap -q "$work/swap"
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--attach "$work/swap")
  { printf '%s' "$prelude" && cat && echo && echo "exit \$failed"; } >"$work/script" <<'GUEST'
    check 'this boot was reset' ends 0 state status
    echo 'open before' >/etc/open && exec 3>>/etc/open
    known() { cat /proc/sys/kernel/random/boot_id /run/state/reset.json && state roots list --json | grep '"name"'; }
    known >/tmp/before
    echo hibernating >/persist/how-far
    swapon /dev/vdb
    sync
    echo shutdown >/sys/power/disk
    cat /sys/block/vdb/dev >/sys/power/resume
    echo disk >/sys/power/state
    # From here on it is another day.
    known >/tmp/after
    check 'nothing was reset' diff /tmp/before /tmp/after
    echo 'and after' >&3
    check 'root is open still' test "$(cat /etc/open)" = $'open before\nand after'
    check 'the resumed system is in order' ends 0 state status
    swapoff /dev/vdb
GUEST
  local guest=("$vm_dir/run" --boot "$work/boot" --attach "$work/disk" "${more_disks[@]}" --payload "$work/script" --timeout 600
    --serial "$work/serial" --append "$root_words resume=/dev/vdb" -- bash ./script)
  "${guest[@]}" >"$work/out" 2>"$work/err" || status=$?
  if [[ $status != 125 ]] || ! grep -q 'this boot was reset' "$work/out" || grep -q FAILED "$work/out"; then
    echo "a machine that hibernates: FAILED: status $status, wanted 125"
    failures=$((failures + 1))
    tail -n 40 "$work/out" "$work/err" "$work/serial" >&2
    return
  fi
  echo 'a machine that hibernates: it did'
  status=0
  "${guest[@]}" >"$work/out" 2>"$work/err" || status=$?
  echo "resumed: status $status"
  cat "$work/out"
  if [[ $status != 0 ]] || ! grep -q 'nothing was reset' "$work/out"; then
    failures=$((failures + 1))
    tail -n 40 "$work/err" "$work/serial" >&2
  fi
  # The same words, and nothing to resume.
  boot 'after it' resume=/dev/vdb <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'by a new system' not test -e /etc/open
    line() { journalctl -b -o cat _PID=1 | grep -nE "$1" | tail -n 1 | cut -d: -f1; }
    resumed=$(line 'Resume from hibernation|systemd-hibernate-resume@') reset=$(line '^Start.*blank')
    echo "  resume at line $resumed, reset at line $reset"
    check 'which was looked for first' test "$resumed" -lt "$reset"
GUEST
}
