#!/bin/sh
# NEGATIVE CONTROL. Never use this: it is here so that tests can show what it does wrong.
#
# Our own short rendering of what the widely copied btrfs scripts do, faults included:
#
#   published-reset.sh delete TOP    delete what is nested in root, delete root, snapshot the blank
#   published-reset.sh move TOP      move root away under a time, delete old ones by age, snapshot
#
# TOP is where the filesystem's top level is mounted; root is TOP/root, its blank TOP/root-blank.
# As in the originals, no command's failure stops the script, and its exit status is the last
# command's.

way=$1
top=$2

# The subvolumes directly inside $1, as far as the ninth word of a line names them.
nested() {
  btrfs subvolume list -o "$1" | awk '{ print $9 }'
}

# Descends, as the variants that move do.
delete_with_nested() {
  nested "$1" | while read -r path; do
    delete_with_nested "$top/$path"
  done
  btrfs subvolume delete "$1"
}

case $way in
  delete)
    nested "$top/root" | while read -r path; do
      btrfs subvolume delete "$top/$path"
    done
    btrfs subvolume delete "$top/root"
    ;;
  move)
    mkdir -p "$top/old-roots"
    mv "$top/root" "$top/old-roots/$(date +%Y-%m-%d_%H:%M:%S)"
    find "$top/old-roots" -mindepth 1 -maxdepth 1 -mtime +30 | while read -r old; do
      delete_with_nested "$old"
    done
    ;;
  *)
    echo "published-reset.sh: delete or move" >&2
    exit 2
    ;;
esac

btrfs subvolume snapshot "$top/root-blank" "$top/root"
