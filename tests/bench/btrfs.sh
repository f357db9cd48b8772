# shellcheck shell=bash disable=SC2154 # who reads this has set `work`
# The filesystem on which benches reset a root: a loop device, its top level mounted at $work/top while it is attached, and
# $work/initrd, which holds the configuration. Whoever reads
# this has set `work`, and is alone with its mounts.

device=
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  if mountpoint -q "$work/top"; then umount "$work/top"; fi
  if [ -n "$device" ]; then losetup --detach "$device"; fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

quietly() { "$@" >/dev/null 2>&1; }
attach() { mount -t btrfs -o "subvolid=5${1:-}" "$device" "$work/top"; }
detach() { umount "$work/top"; }

# A blank with an init, and the configuration; attached.
make_filesystem() { # SIZE
  mkdir -p "$work/top" "$work/initrd/etc/state"
  truncate --size "$1" "$work/image"
  mkfs.btrfs -q "$work/image"
  device=$(losetup --find --show "$work/image")
  cat >"$work/initrd/etc/state/state.toml" <<END
[root]
backend = "btrfs"
device = "$device"
subvolume = "root"
past-roots = { last = 1, days = 0 }
END
  attach
  quietly btrfs subvolume create "$work/top/root"
  mkdir "$work/top/root/sbin"
  echo init >"$work/top/root/sbin/init"
  quietly btrfs subvolume snapshot -r "$work/top/root" "$work/top/root-blank"
}

# A subvolume of $1 files, a thousand in a directory.
fill() {
  local at="$work/top/filled-$1" dir
  quietly btrfs subvolume create "$at"
  for ((dir = 0; dir * 1000 < $1; dir++)); do
    mkdir "$at/$dir"
    seq $(($1 < 1000 ? $1 : 1000)) | (cd "$at/$dir" && split --lines 1 --suffix-length 4)
  done
}

# Deletes what is left of the run before, nested ones first, and waits for the cleaner.
clear_away() {
  local path
  btrfs subvolume list "$work/top" | sed 's/^.* path //' | tac | while read -r path; do
    case $path in
      root | root/* | root.new* | past-roots/* | old-roots/* | .state/*)
        quietly btrfs subvolume delete "$work/top/$path"
        ;;
    esac
  done
  rm -rf "$work/top/old-roots"
  quietly btrfs subvolume sync "$work/top"
}

# A root of $1 files and $2 nested subvolumes, everything written out, the filesystem unmounted.
prepare() {
  local n
  attach ,commit=1 # the cleaner comes round as often as the disk commits
  clear_away
  quietly btrfs subvolume snapshot "$work/top/filled-$1" "$work/top/root"
  for ((n = 0; n < $2; n++)); do
    quietly btrfs subvolume create "$work/top/root/nested-$n"
  done
  sync
  detach
}

# The root that is there now is the blank one: nobody is timed for not doing it.
must_be_blank() { # WHO
  attach
  if [ ! -e "$work/top/root/sbin/init" ] || [ -e "$work/top/root/0" ]; then
    echo "${0##*/}: $1 did not reset root" >&2
    exit 1
  fi
  detach
}

median() { printf '%s\n' "$@" | sort -n | sed -n "$(((${#} + 1) / 2))p"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
milliseconds() { awk -v us="$1" 'BEGIN { printf "%.1f", us / 1000 }'; }
