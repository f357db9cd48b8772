# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them
# What the boot tests do with a machine: install it, boot it, look at it from inside.

# --- installing -------------------------------------------------------------------------------------------------------

# Runs a script inside the machine on DISK (DISK,DISK for a filesystem of several), in mounts and a /dev of its own that go away
# with it.
inside() { # DISK SCRIPT
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount --propagation private bash -euc '
    IFS=, read -ra disks <<<"$1"
    script=$2 work=$3 uuid=$4 at=$3/at devices=()
    mkdir -p "$at"
    trap "umount -R $at; losetup -d \${devices[@]}" EXIT
    for each in "${disks[@]}"; do devices+=("$(losetup --find --show "$each")"); done
    [[ ${#devices[@]} == 1 ]] || btrfs device scan "${devices[@]}" >/dev/null
    device=${devices[0]}
    mount -o subvol=root "$device" "$at"
    mount -o subvol=persist "$device" "$at/persist"
    for each in run tmp dev; do mount -t tmpfs -o mode=0755 "$each" "$at/$each"; done
    mount -t proc proc "$at/proc"
    mount -t sysfs -o ro sys "$at/sys"
    cp -a /dev/{null,zero,full,random,urandom,tty} "${devices[@]}" "$at/dev/"
    ln -s /proc/self/fd "$at/dev/fd"
    mkdir -p "$at/dev/disk/by-uuid"
    ln -s "../../${device##*/}" "$at/dev/disk/by-uuid/$uuid"
    cp "$work/state" "$at/tmp/"
    env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
      chroot "$at" bash -euc "$script"
    cp "$at"/boot/initrd.img-* "$work/boot/initrd"
    [[ ! -d $at/tmp/out ]] || cp "$at"/tmp/out/* "$work/boot/"
  ' inside "$1" "$2" "$work" "$uuid"
}

# A machine as docs/boot.md sets one up.
install_machine() { # MAKER
  local begun=$SECONDS
  rm -rf "${work:?}/boot"
  mkdir -p "$work/boot"
  cp "$machine/vmlinuz" "$work/boot/"
  cp --sparse=always "$machine/disk" "$work/disk"
  inside "$work/disk" "
    install -m 755 /tmp/state /usr/local/bin/
    state --yes init --migrate --install-boot=$1
  " >"$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    die "the machine could not be installed"
  }
  [[ -s $work/boot/initrd ]] || die "$1 made no initrd"
  say "a machine with $1: installed in $((SECONDS - begun)) s"
}

# Makes $work/cut: the machine's kernel and its initrd, over which more lines for a unit of it are laid.
drop_in() { # UNIT LINE...
  inside "$work/disk" "$(more_lines "$@")"
  lay_over
}
# The same in two: what the machine runs, and what is done with the /tmp/out/over that came of it.
more_lines() { # UNIT LINE...
  local drop_in=etc/systemd/system/$1.d
  shift
  cat <<LINES
mkdir -p /tmp/out /tmp/over/$drop_in
cd /tmp/over
printf '%s\\n'$(printf ' %q' '[Service]' "$@") >$drop_in/cut.conf
find . | cpio -o --quiet -H newc >/tmp/out/over
LINES
}
lay_over() { # [NAME]...
  [[ $# -gt 0 ]] || set -- over
  mkdir -p "$work/cut"
  cp "$work/boot/vmlinuz" "$work/boot/initrd" "$work/cut/"
  truncate -s %4 "$work/cut/initrd" # where the kernel looks for the next archive
  cat "${@/#/"$work/boot/"}" >>"$work/cut/initrd"
}

# --- booting ----------------------------------------------------------------------------------------------------------

# What every script in the machine may use.
# shellcheck disable=SC2016 # for the machine's shell
prelude='
set -u
failed=0
check() { # WHAT COMMAND...
  local what=$1 && shift
  if "$@" >/tmp/checked 2>&1; then echo "  ok: $what"; else
    echo "  FAILED: $what" && sed "s/^/    /" /tmp/checked && failed=1
  fi
}
ends() { # STATUS COMMAND...
  local wanted=$1 status=0 && shift
  "$@" || status=$?
  [[ $status == "$wanted" ]] || { echo "ended with $status, not $wanted" && false; }
}
not() { ! "$@"; }
says() { # TEXT COMMAND...
  local text=$1 && shift
  "$@" 2>&1 | tee /tmp/said | grep -qF -- "$text" || { cat /tmp/said && false; }
}
'

failures=0
# For each test anew:
more_disks=() # words for `run`
root_words="" # where the kernel command line says that root is
firmware=false # whether the disk has a boot loader of its own
limit=600 # seconds for a boot, on a machine that has much else to do
# Boots the machine; its script comes on standard input.
boot() { # WHAT [WORDS FOR THE KERNEL COMMAND LINE]
  local begun=$SECONDS status=0
  { printf '%s' "$prelude" && cat && echo && echo "exit \$failed"; } >"$work/script"
  local start=(--boot "$work/boot" --append "$root_words ${2-}")
  ! $firmware || start=(--firmware)
  "$vm_dir/run" "${start[@]}" --attach "$work/disk" "${more_disks[@]}" --payload "$work/script" --timeout "$limit" \
    --serial "$work/serial" -- bash ./script >"$work/out" 2>"$work/err" || status=$?
  printf '%s: status %s in %s s\n' "$1" "$status" $((SECONDS - begun))
  cat "$work/out"
  [[ $status == 0 ]] || {
    failures=$((failures + 1))
    tail -n 30 "$work/err" "$work/serial" >&2
  }
}

# Boots a machine whose root is not to be mounted.
does_not_boot() { # WHAT TEXT-ON-THE-CONSOLE
  local status=0
  "$vm_dir/run" --boot "$work/boot" --attach "$work/disk" --timeout 600 --serial "$work/serial" \
    --append "$root_words rd.emergency=poweroff rd.shell=0" -- true >"$work/out" 2>"$work/err" || status=$?
  if [[ $status == 125 ]] && grep -qF "$2" "$work/serial"; then
    echo "$1: root was not mounted, and the console says why"
  else
    echo "$1: FAILED: status $status, wanted 125"
    failures=$((failures + 1))
    tail -n 40 "$work/serial" >&2
  fi
}
