# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# A filesystem that copies at once, wherever this machine keeps its temporary files: `copies` of the caller, with DISK as `before`.
# Sets `disks`, for `run`: those of the machine, with `disk` of the copies for DISK.
make_copies() { # DISK
  mkdir "$copies"
  truncate -s 16G "$copies.img"
  mkfs.btrfs -q "$copies.img" >/dev/null
  mount -o loop "$copies.img" "$copies"
  cp --sparse=always "$1" "$copies/before"
  disks=(--attach "$work/disk" "${more_disks[@]}")
  disks=("${disks[@]/#"$1"/"$copies/disk"}")
}
# With the time of its last write, which says where among the writes a copy was made.
copy() { cp --reflink=always --preserve=timestamps "$copies/$1" "$copies/$2"; }

# The power fails at STATE_CUTS random moments of a reset (200), drawn from STATE_SEED over the time from its first write to its
# last. The machine boots once, up to the reset, and is frozen there. Then it goes on from that again and again, is killed at
# the last of twelve moments, and at the others its disk is copied in one instant: as it has no write cache, that is what a kill
# would have left. Each copy is checked by after-cut, without booting it. A finding leaves the disk behind.
# Where the machine is frozen is held by the lines that `held` has, or `lives` brings.
random_cuts() { # BACKEND DISK WRITES-PER-SECOND WHAT-IS-CALLED-WHOLE
  local backend=$1 disk=$2 slow=$3 whole=$4 cuts=${STATE_CUTS:-200} seed=${STATE_SEED:-1}
  local copies=$work/copies disks=()
  make_copies "$disk"
  # As it was: not left to goes_on, beside which `writes` looks at them already.
  as_before() {
    rm -f "$copies/kill"
    copy before disk
    : >"$work/serial"
  }
  # With a slow disk: otherwise all that is written is there before a moment can be hit.
  goes_on() { # RUN-OPTION...
    "$vm_dir/run" --boot "$work/cut" --timeout 900 --append "$root_words" "${disks[@]}" --slow-writes "$slow" --serial "$work/serial" \
      --frozen "$work/memory" "$@" "${lives[@]}" >/dev/null 2>"$work/err"
  }
  # The machine that goes on has begun the reset, and written something; sets `first`, when that was.
  writes() { # PROCESS
    until grep -qE "$from" "$work/serial" || ! kill -0 "$1" 2>/dev/null; do sleep 0.02; done
    touch "$copies/begun"
    until [[ $copies/disk -nt $copies/begun ]] || ! kill -0 "$1" 2>/dev/null; do sleep 0.01; done
    first=$(stat -c %.6Y "$copies/disk")
  }
  calc() { awk "BEGIN { printf \"%.3f\", $1 }"; }

  as_before
  goes_on --freeze-after-serial "$ready" || { cat "$work/err" >&2 && die 'the machine could not be frozen'; }
  ! grep -qE "$from" "$work/serial" || die 'the machine was frozen too late'
  mv "$copies/disk" "$copies/before"
  local machine status=0 first long
  as_before
  goes_on --kill-after-serial 'cut: to' --kill-delay 1 &
  machine=$!
  writes $machine
  wait $machine || status=$?
  [[ $status == 137 ]] || { tail -n 40 "$work/serial" "$work/err" >&2 && die 'the machine did not go on'; }
  long=$(calc "$(stat -c %.6Y "$copies/disk") - $first")
  copy disk checked0
  local came
  came=$("after_cuts_$backend" 1)
  [[ $came == "$whole" ]] || die "the reset is not right without any cut: $came"
  say "$backend: $cuts cuts from seed $seed, over $long s of writing"

  local begun=$SECONDS number=0 round moments before each last lost=0 within=0
  declare -A count=()
  for ((round = 1; number < cuts; round++)); do
    mapfile -t moments < <(awk -v seed="$seed" -v round="$round" -v left=$((cuts - number)) -v long="$long" \
      'BEGIN { srand(seed * 100003 + round); rand(); for (i = 0; i < 12 && i < left; i++) printf "%.3f\n", rand() * long }' | sort -n)
    as_before
    goes_on --kill-when "$copies/kill" &
    machine=$!
    writes $machine
    before=0
    for each in "${!moments[@]}"; do
      sleep "$(calc "${moments[each]} - $before")"
      before=${moments[each]}
      ((each + 1 == ${#moments[@]})) || copy disk "cut$each"
    done
    touch "$copies/kill"
    status=0
    wait $machine || status=$?
    [[ $status == 137 ]] || { cat "$work/err" >&2 && die "round $round: status $status"; }
    copy disk "cut$each"
    # Whatever was written after a copy was made came after it; and after the last, if the reset was not over.
    last=$(stat -c %.6Y "$copies/disk")
    for each in "${!moments[@]}"; do
      copy "cut$each" "checked$each"
      grep -q 'cut: to' "$work/serial" && [[ $(stat -c %.6Y "$copies/cut$each") == "$last" ]] || within=$((within + 1))
    done
    each=0
    while read -r came; do
      number=$((number + 1))
      if [[ $came == lost* ]]; then
        lost=$((lost + 1))
        cp --sparse=always "$copies/cut$each" "${TMPDIR:-/tmp}/state-lost-$backend-$seed-$number"
        echo "cut $number of seed $seed, ${moments[each]} s after the first write: FAILED: $came: the disk is ${TMPDIR:-/tmp}/state-lost-$backend-$seed-$number"
        came=lost
      fi
      count[$came]=$((${count[$came]-0} + 1))
      each=$((each + 1))
    done < <("after_cuts_$backend" "${#moments[@]}")
    ((each == ${#moments[@]})) || die "round $round: only $each of ${#moments[@]} were checked"
    say "$number cuts in $((SECONDS - begun)) s, $within of them between the first write and the last:$(for came in "${!count[@]}"; do printf ' %s %s' "$came" "${count[$came]}"; done)"
  done
  failures=$((failures + lost))
  echo "$number random cuts of $backend from seed $seed, $within between the first write and the last:$(for came in "${!count[@]}"; do printf ' %s %s' "$came" "${count[$came]}"; done)"
}

# Checks the disks checked0, checked1, ... in $copies.
on_this_machine() { # BACKEND NUMBER
  local disks=() each
  for ((each = 0; each < $2; each++)); do disks+=("$copies/checked$each"); done
  copy before reference
  "$vm_dir/after-cut" "$1" "$work/state" "$copies/reference" "${disks[@]}" || :
}
after_cuts_btrfs() { on_this_machine btrfs "$1"; }
after_cuts_overlay() { on_this_machine overlay "$1"; }
after_cuts_tmpfs() { on_this_machine tmpfs "$1"; }
# All of them in one guest.
after_cuts_zfs() { # NUMBER
  local disks=(--attach "$copies/reference") each letters=(/dev/vd{b..z})
  for ((each = 0; each < $1; each++)); do disks+=(--attach "$copies/checked$each"); done
  copy before reference
  "$vm_dir/run" --memory 1536M --timeout 3000 --payload "$vm_dir/after-cut" --payload "$work/state" "${disks[@]}" -- \
    ./after-cut zfs state /dev/vda "${letters[@]:0:$1}" || :
}

lived_in='
    echo clutter >/etc/clutter
    rm /etc/issue
    mkdir -p "/opt/a b/c"
    btrfs -q subvolume create /opt/nested 2>/dev/null || : # where root is one
    head -c 3000000 /dev/urandom >"/opt/a b/c/more"
    echo kept >/persist/kept
'
# What the machine is to do that is frozen, for `run`; what its console says where that should be, and when it goes on.
lives=(-- true) ready='cut: ready' from='cut: from'
# Held before the reset, to be frozen, and after it, so that nobody uses the new root.
held=("ExecStartPre=/bin/sh -c 'echo cut: ready >/dev/console; sleep 4; echo cut: from >/dev/console'"
  "ExecStartPost=/bin/sh -c 'echo cut: to >/dev/console; sleep 600'" TimeoutStartSec=900)

test_random_btrfs() {
  install_machine dracut
  boot 'a machine that is lived in' <<<"$lived_in"
  drop_in state-reset.service "${held[@]}"
  random_cuts btrfs "$work/disk" 8 put-away
}

test_random_overlay() {
  install_overlay
  root_words+=" ro"
  boot 'a machine that is lived in' <<<"$lived_in"
  drop_in state-reset.service "${held[@]}"
  random_cuts overlay "$work/layers" 8 put-away
}

test_random_zfs() {
  install_zfs_machine
  in_zfs_machine "$work/boot" "
    $lived_in
    $(more_lines state-reset.service "${held[@]}")
  "
  lay_over
  random_cuts zfs "$work/disk" 32 put-away
}

# What is cut is the capture, when the machine goes down: filling root writes nothing, which is checked first.
test_random_tmpfs() {
  install_in_memory
  boot 'in memory: a machine that is lived in' <<<"$lived_in"
  drop_in state-fill.service "${held[@]}"
  cp --sparse=always "$work/disk" "$work/filled"
  local status=0
  "$vm_dir/run" --boot "$work/cut" --attach "$work/filled" "${more_disks[@]}" --timeout 900 --serial "$work/serial" \
    --kill-after-serial 'cut: to' --append "$root_words" -- true >/dev/null 2>"$work/err" || status=$?
  [[ $status == 137 ]] || { tail -n 40 "$work/serial" "$work/err" >&2 && die 'root was not filled'; }
  if cmp "$work/disk" "$work/filled"; then
    echo 'in memory: filling root wrote nothing'
  else
    echo 'in memory: FAILED: filling root wrote to the disk'
    failures=$((failures + 1))
  fi
  rm "$work/filled"

  rm -rf "${work:?}/cut"
  cp -r "$work/boot" "$work/cut"
  cat >"$work/script" <<GUEST
    # Nobody else writes to the disk.
    mkdir -p /run/systemd/journald.conf.d
    printf '%s\n' '[Journal]' Storage=volatile >/run/systemd/journald.conf.d/cut.conf
    systemctl restart systemd-journald.service
    $lived_in
    # Something for each of the archives that are published one after the other.
    head -c 600000 /dev/urandom >/opt/some
    (cd / && sha256sum etc/clutter opt/some 'opt/a b/c/more') >/persist/lived-in
    mkdir -p /etc/systemd/system/state-capture.service.d
    cat >/etc/systemd/system/state-capture.service.d/cut.conf <<'LINES'
[Service]
ExecStop=
ExecStop=/usr/bin/strace -o /dev/console -e trace=mkdirat -e inject=mkdirat:delay_enter=4000000:when=1 /usr/local/bin/state roots capture
${held[1]/ExecStartPost/ExecStop}
TimeoutStopSec=900
LINES
    systemctl daemon-reload
    sync -f /persist
GUEST
  # Frozen where it makes the first directory: all before that was looking.
  lives=(--payload "$work/script" -- bash ./script) ready='mkdirat\([^)]*$' from='= -1 EEXIST'
  random_cuts tmpfs "$work/disk" 32 all
}
