# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# The power fails at STATE_CUTS random moments of a reset (200), drawn from STATE_SEED. The machine boots once, up to the reset, and is
# frozen there. Then it goes on from that again and again, is killed at the last of twelve moments, and at the others its disk
# is copied in one instant: as it has no write cache, that is what a kill would have left. Each copy is checked by after-cut,
# without booting it. A finding leaves the disk behind.
random_cuts() { # BACKEND DISK
  local backend=$1 disk=$2 cuts=${STATE_CUTS:-200} seed=${STATE_SEED:-1}
  boot 'a machine that is lived in' <<'GUEST'
    echo clutter >/etc/clutter
    rm /etc/issue
    mkdir -p '/opt/a b/c'
    btrfs -q subvolume create /opt/nested 2>/dev/null || : # where root is one
    head -c 3000000 /dev/urandom >'/opt/a b/c/more'
    echo kept >/persist/kept
GUEST
  # Held before the reset, to be frozen, and after it, so that nobody uses the new root.
  local say_now='read -r now _ </proc/uptime; echo cut:'
  drop_in "ExecStartPre=/bin/sh -c 'echo cut: ready >/dev/console; sleep 4; $say_now from \$\$now >/dev/console'" \
    "ExecStartPost=/bin/sh -c '$say_now to \$\$now >/dev/console; sleep 600'" TimeoutStartSec=900
  # A filesystem that copies at once, wherever this machine keeps its temporary files.
  local copies=$work/copies
  mkdir "$copies"
  truncate -s 16G "$work/copies.img"
  mkfs.btrfs -q "$work/copies.img" >/dev/null
  mount -o loop "$work/copies.img" "$copies"
  cp --sparse=always "$disk" "$copies/before"
  copy() { cp --reflink=always "$copies/$1" "$copies/$2"; }
  # With a slow disk, or nearly all of the time would be the program's own, before its first write.
  goes_on() { # RUN-OPTION...
    copy before disk
    "$vm_dir/run" --boot "$work/cut" --timeout 600 --append "$root_words" \
      --attach "$copies/disk" --slow-writes 8 --serial "$work/serial" --frozen "$work/memory" "$@" -- true >/dev/null 2>"$work/err"
  }
  is_cut() { "$vm_dir/after-cut" "$backend" "$work/state" "$copies/$1" "$copies/before"; }

  goes_on --freeze-after-serial 'cut: ready' || { cat "$work/err" >&2 && die 'the machine could not be frozen'; }
  ! grep -q 'cut: from' "$work/serial" || die 'the machine was frozen too late'
  mv "$copies/disk" "$copies/before"
  local status=0 from to long
  goes_on --kill-after-serial 'cut: to [0-9.]+' || status=$?
  [[ $status == 137 ]] || { tail -n 40 "$work/serial" "$work/err" >&2 && die 'the machine did not go on'; }
  from=$(grep -oP 'cut: from \K[0-9.]+' "$work/serial") to=$(grep -oP 'cut: to \K[0-9.]+' "$work/serial")
  long=$(awk -v from="$from" -v to="$to" 'BEGIN { print to - from }')
  [[ $(is_cut disk) == put-away ]] || die 'the reset is not right without any cut'
  say "$backend: $cuts cuts from seed $seed, within $long s"

  local begun=$SECONDS number=0 round moments machine before each came lost=0
  declare -A count=()
  for ((round = 1; number < cuts; round++)); do
    mapfile -t moments < <(awk -v seed="$seed" -v round="$round" -v left=$((cuts - number)) -v long="$long" \
      'BEGIN { srand(seed * 100003 + round); rand(); for (i = 0; i < 12 && i < left; i++) printf "%.3f\n", rand() * long * 1.1 }' | sort -n)
    goes_on --kill-after-serial 'cut: from [0-9.]+' --kill-delay "${moments[-1]}" &
    machine=$!
    until grep -qE 'cut: from [0-9.]+' "$work/serial" || ! kill -0 $machine 2>/dev/null; do sleep 0.05; done
    before=0
    for ((each = 0; each + 1 < ${#moments[@]}; each++)); do
      sleep "$(awk -v a="$before" -v b="${moments[each]}" 'BEGIN { print b - a }')"
      before=${moments[each]}
      copy disk "cut$each"
    done
    status=0
    wait $machine || status=$?
    # A machine that others use as well is now faster, now slower.
    to=$(grep -oP 'cut: to \K[0-9.]+' "$work/serial") || :
    long=$(awk -v from="$from" -v to="${to:-0}" -v long="$long" 'BEGIN { print (to > from ? to - from : long * 1.3) }')
    [[ $status == 137 ]] || { cat "$work/err" >&2 && die "round $round: status $status"; }
    copy disk "cut$each"
    for each in "${!moments[@]}"; do
      number=$((number + 1))
      copy "cut$each" disk
      if came=$(is_cut disk); then
        count[$came]=$((${count[$came]-0} + 1))
        continue
      fi
      lost=$((lost + 1))
      cp --sparse=always "$copies/cut$each" "${TMPDIR:-/tmp}/state-lost-$backend-$seed-$number"
      echo "cut $number of seed $seed, after ${moments[each]} s: FAILED: the disk is ${TMPDIR:-/tmp}/state-lost-$backend-$seed-$number"
    done
    say "$number cuts in $((SECONDS - begun)) s:$(for came in "${!count[@]}"; do printf ' %s %s' "$came" "${count[$came]}"; done); $lost lost"
  done
  failures=$((failures + lost))
  echo "$number random cuts of $backend from seed $seed:$(for came in "${!count[@]}"; do printf ' %s %s' "$came" "${count[$came]}"; done); $lost lost"
}

test_random_btrfs() {
  install_machine dracut
  random_cuts btrfs "$work/disk"
}
