# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# What the names of these acts are is in docs/design/zfs.md; what holds a reset after one of them stands in for the
# programs of the initrd that carry them out. With `vm.slow` it goes on after so many seconds.
# shellcheck disable=SC2016 # for the machine's shell
hold='#!/bin/sh
real=/usr/libexec/state-vm/${0##*/}
case $1 in
create | rename | clone | promote | set | inherit | destroy | rollback | snapshot) ;;
*) exec "$real" "$@" ;;
esac
after=$(sed -n "s/.*vm\.hold=\([0-9]*\).*/\1/p" /proc/cmdline)
slow=$(sed -n "s/.*vm\.slow=\([0-9]*\).*/\1/p" /proc/cmdline)
acts=$(cat /run/acts 2>/dev/null || echo 0)
if [ "$acts" != "$after" ]; then
  "$real" "$@" || exit
  echo $((acts + 1)) >/run/acts
  [ $((acts + 1)) = "$after" ] || exit 0
  echo "held after ${0##*/} $1" >/dev/console
  exec sleep "${slow:-3600}"
fi
echo $((acts + 1)) >/run/acts
echo "held before ${0##*/} $1" >/dev/console
sleep "${slow:-3600}"
exec "$real" "$@"
'

# Boots a machine and has it run a script, which leaves in /tmp/out what is wanted in $work/boot.
in_zfs_machine() { # BOOT SCRIPT
  local status=0
  printf 'set -euo pipefail\nmkdir -p /tmp/out\n{\n%s\n} >&2\ntar -cC /tmp/out .' "$2" >"$work/script"
  "$vm_dir/run" --boot "$1" --attach "$work/disk" --payload "$work/state" --payload "$work/script" --timeout 900 \
    --serial "$work/serial" --append "$root_words" -- bash ./script >"$work/made.tar" 2>"$work/install.log" || status=$?
  [[ $status == 0 ]] || {
    cat "$work/install.log" "$work/serial" >&2
    die "the machine could not be installed"
  }
  tar -xC "$work/boot" -f "$work/made.tar"
}

# A machine as docs/boot.md sets one up: on ZFS only the running machine itself can do it. Once for all tests.
install_zfs_machine() {
  local begun=$SECONDS prepared
  root_words="root=zfs:AUTO"
  if [[ ! -d $work/zfs ]]; then
    "$vm_dir/prepare" machine-zfs
    prepared=$(find_machine_zfs)
    rm -rf "${work:?}/boot"
    mkdir -p "$work/boot" "$work/zfs"
    cp "$prepared/vmlinuz" "$work/boot/"
    cp --sparse=always "$prepared/disk" "$work/disk"
    in_zfs_machine "$prepared" "
      install -m 755 state /usr/local/bin/
      state --yes init --migrate --install-boot=dracut
      cp /boot/initrd.img-* /tmp/out/initrd
      mkdir -p /tmp/over/usr/{sbin,libexec/state-vm}
      cp /sbin/zfs /sbin/zpool /tmp/over/usr/libexec/state-vm/
      cat >/tmp/over/usr/sbin/zfs <<'HOLD'
$hold
HOLD
      chmod 755 /tmp/over/usr/sbin/zfs
      cp /tmp/over/usr/sbin/z{fs,pool}
      (cd /tmp/over && find . | cpio -o --quiet -H newc >/tmp/out/over)
      mkdir -p /tmp/limit/etc/systemd/system/state-reset.service.d
      cd /tmp/limit
      printf '[Service]\nTimeoutStartSec=80\n' >etc/systemd/system/state-reset.service.d/limit.conf
      find . | cpio -o --quiet -H newc >/tmp/out/limit
    "
    mv "$work/disk" "$work/boot" "$work/zfs/"
    say "a machine on ZFS: installed in $((SECONDS - begun)) s"
  fi
  rm -rf "${work:?}/boot"
  cp --sparse=always "$work/zfs/disk" "$work/disk"
  cp -r "$work/zfs/boot" "$work/boot"
}

test_zfs() {
  install_zfs_machine
  boot 'ZFS: the first boot' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    check 'the persist tree is in place' ends 0 state mount
    check 'nothing is missing' ends 0 state doctor
    cat /etc/machine-id >/persist/machine-id-was
    zfs get -Hp -o value guid rpool/local/root@blank >/persist/blank-was
    echo clutter >/etc/clutter
    rm /etc/issue
GUEST
  boot 'ZFS: after it' <<'GUEST'
    check 'the clutter is gone' not test -e /etc/clutter
    check 'what was deleted is back' test -s /etc/issue
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'and was from the very start' says "$(cat /persist/machine-id-was)" journalctl -b -o json -n 1 --output-fields=_MACHINE_ID
    check 'this boot was reset' ends 0 state status
    check 'and it says so' says 'reset from rpool/local/root@blank' state status
    check 'blank is the same' says "$(cat /persist/blank-was)" zfs get -Hp -o value guid rpool/local/root@blank
    check 'the pool boots from root' says rpool/local/root zpool get -H -o value bootfs rpool
    order=$(journalctl -b -o cat -u state-reset.service -u zfs-env-bootfs.service |
      grep -oE '^(Finished state-reset|Starting zfs-env-bootfs)')
    check 'the pool is asked for root after the reset' test "$order" = $'Finished state-reset\nStarting zfs-env-bootfs'
    check 'the diff of the past root names the clutter' says clutter state roots diff latest
    check 'and brings it back' ends 0 state roots recover /etc/clutter
    check 'it is back' grep -qx clutter /etc/clutter
    grep -o '"took_us": [0-9]*' /run/state/reset.json | sed 's/^/  reset /'
GUEST
  boot 'ZFS: state.skip' state.skip <<'GUEST'
    check 'root is as it was' grep -qx clutter /etc/clutter
    check 'status wants attention' ends 5 state status
    check 'and says why' says state.skip state status
GUEST
  boot 'ZFS: the unit does not run' rd.systemd.mask=state-reset.service <<'GUEST'
    check 'root is as it was' grep -qx clutter /etc/clutter
    check 'status wants attention' ends 5 state status
    check 'and says why' says 'no reset ran' state status
GUEST
  root_words="root=zfs:rpool/local/root"
  boot 'ZFS: a past root' state.root=past/latest <<'GUEST'
    check 'what was thrown away is back' grep -qx clutter /etc/clutter
    check 'and what was deleted there is not' test ! -s /etc/issue
    check 'status is content' ends 0 state status
    check 'and says from what' says past state status
GUEST
}

# No past roots are kept: root is rolled back.
test_zfs_rollback() {
  install_zfs_machine
  in_zfs_machine "$work/boot" "
    sed -i 's/^past-roots = .*/past-roots = { last = 0, days = 0 }/' /persist/etc/state/state.toml
    state init --install-boot=dracut
    state --yes blank take
    cp /boot/initrd.img-* /tmp/out/initrd
    echo more >/etc/more
    zfs snapshot rpool/local/root@of-somebody
    zfs list -H -o name -d 1 rpool/local/past-roots >/persist/past-roots-were
  "
  boot 'ZFS, rolled back' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'root is rolled back' not test -e /etc/more
    check 'newer snapshots are gone' not zfs list rpool/local/root@of-somebody
    zfs list -H -o name -d 1 rpool/local/past-roots >/tmp/past-roots-are
    check 'and no past root is new' cmp /persist/past-roots-were /tmp/past-roots-are
GUEST
}

# A reset that comes to its limit of time, and one that is refused, with either `on-failure`.
test_zfs_failures() {
  install_zfs_machine
  lay_over over limit
  cp "$work/cut/initrd" "$work/boot/"
  boot 'ZFS: too slow, before root is touched' 'vm.hold=0 vm.slow=110' <<'GUEST'
    check 'the limit was reached' says 'timed out' journalctl -b -u state-reset.service
    check 'status wants attention' ends 5 state status
    check 'and says why' says interrupted state status
    check 'state-check has failed' systemctl is-failed state-check.service
    check 'nothing was put away' test "$(zfs list -H -o name -d 1 rpool/local/past-roots)" = rpool/local/past-roots
    # What was installed went on writing its log after that had been copied to the store.
    check 'nothing is hidden by a mount' says 'nowhere else, /var/log' state mount
    echo clutter >/etc/clutter
GUEST
  boot 'ZFS: too slow, while there is no root' 'vm.hold=1 vm.slow=110' <<'GUEST'
    check 'the limit was reached' says 'timed out' journalctl -b -u state-reset.service
    check 'root was made all the same' ends 0 state status
    check 'the clutter is gone' not test -e /etc/clutter
    check 'the past root has it' says clutter state roots diff latest
    check 'nothing is left over' ends 0 state doctor
    echo more >/etc/more
    zfs create -u -o mountpoint=legacy rpool/local/root/without-blank
GUEST
  boot 'ZFS: a reset that fails' <<'GUEST'
    check 'root is as it was' grep -qx more /etc/more
    check 'the persist tree is in place' ends 0 state mount
    check 'status wants attention' ends 5 state status
    check 'and says why' says rpool/local/root/without-blank state status
    check 'state-check has failed' systemctl is-failed state-check.service
GUEST
  in_zfs_machine "$work/boot" "
    sed -i '/^past-roots/a on-failure = \"emergency\"' /persist/etc/state/state.toml
    state init --install-boot=dracut
    cp /boot/initrd.img-* /tmp/out/initrd
  "
  does_not_boot 'ZFS, an emergency' rpool/local/root/without-blank
}

# The machine is killed after the nth act of a reset. What its disk acknowledged is all there is; the next boot has to
# finish, also where the pool's `bootfs` names the past root by then.
zfs_cut_after() { # NUMBER...
  local acts what number=0
  install_zfs_machine
  lay_over
  boot 'ZFS: a machine that is lived in' <<'GUEST'
    echo 'clutter 0' >/etc/clutter
    cat /etc/machine-id >/persist/machine-id-was
GUEST
  for acts; do
    local status=0
    "$vm_dir/run" --boot "$work/cut" --attach "$work/disk" --timeout 300 --serial "$work/serial" --kill-after-serial 'held (before|after) ' \
      --append "$root_words vm.hold=$acts" -- true >"$work/out" 2>"$work/err" || status=$?
    what="ZFS, cut: $(grep -oE 'held (before|after) .*' "$work/serial" | tr -d '\r')"
    [[ $status == 137 ]] || {
      echo "$what: FAILED: status $status, wanted 137"
      failures=$((failures + 1))
      tail -n 40 "$work/serial" >&2
    }
    boot "$what" "vm.number=$number" <<'GUEST'
      number=$(grep -o 'vm.number=[0-9]*' /proc/cmdline) && number=${number#*=}
      check 'this boot was reset' ends 0 state status
      check 'it runs on root' says rpool/local/root findmnt -no SOURCE /
      check 'the clutter is gone' not test -e /etc/clutter
      check 'the persist tree is there' cmp /etc/machine-id /persist/machine-id-was
      found=0
      for past in $(zfs list -Ho name -d 1 -r rpool/local/past-roots | tail -n +2); do
        mount -t zfs -o ro,zfsutil "$past" /mnt
        grep -qsx "clutter $number" /mnt/etc/clutter && found=$((found + 1))
        umount /mnt
      done
      check 'the outgoing root is put away once' test "$found" = 1
      check 'nothing is left over' ends 0 state doctor
      echo "clutter $((number + 1))" >/etc/clutter
GUEST
    number=$((number + 1))
  done
}

# Root is absent; root is there, and the pool still boots from the past root.
test_zfs_cuts() { zfs_cut_after 1 2; }
test_zfs_every_cut() { zfs_cut_after 0 1 2 3 4 5; }
