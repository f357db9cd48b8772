# shellcheck shell=bash disable=SC2154,SC2034 # boot, which reads this, has set them and uses these
# A stranger's walk: a disk as Debian's installer leaves it, started by its firmware and its own GRUB, and nothing is typed
# in it but what docs/moving.md says.

# Lays out $work/disk. The tools are those of the machine that it becomes.
install_plain() { # FILESYSTEM [PACKAGE FILE THAT IS TO BE THERE]...
  local begun=$SECONDS filesystem=$1
  shift
  rm -f "$work/disk"
  truncate -s 3G "$work/disk"
  # shellcheck disable=SC2016 # for the inner shells
  unshare --mount --propagation private bash -euc '
    at=$1/at
    mkdir -p "$at"
    mount -o loop,ro,subvol=root "$2/disk" "$at"
    device=$(losetup --find --show "$1/disk")
    trap "umount -R $at; partx --delete $device; losetup --detach $device" EXIT
    for each in run tmp dev mnt; do mount -t tmpfs -o mode=0755 "$each" "$at/$each"; done
    mount -t proc proc "$at/proc"
    mount -t sysfs -o ro sys "$at/sys"
    cp -a /dev/{null,zero,full,random,urandom,tty} "$device" "$at/dev/"
    ln -s /proc/self/fd "$at/dev/fd"
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 disk="$device" filesystem="$3" words="$4" chroot "$at" bash -euc "$5"
  ' install "$work" "$machine" "$filesystem" "$kernel_words" "$as_the_installer" >"$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    die "the machine could not be installed"
  }
  say "Debian on $filesystem, with GRUB: installed in $((SECONDS - begun)) s"
}

# shellcheck disable=SC2016 # for the shell in the machine
as_the_installer='
printf "%s\n" "label: gpt" "size=1M, type=21686148-6449-6E6F-744E-656564454649" "type=L" | sfdisk -q "$disk"
partx --update "$disk" # the kernel may not know of partitions by itself
part=${disk}p2
mknod "$part" b $(tr : " " <"/sys/class/block/${part##*/}/dev")
"mkfs.$filesystem" -q "$part"
uuid=$(blkid -s UUID -o value "$part")
case $filesystem in
btrfs)
  options=defaults,subvol=@rootfs
  mount "$part" /mnt
  btrfs -q subvolume create /mnt/@rootfs
  umount /mnt
  ;;
ext4) options=errors=remount-ro ;;
esac
mount -o "$options" "$part" /mnt
cp -axT / /mnt
rmdir /mnt/persist
printf "%s\n" "# <file system> <mount point> <type> <options> <dump> <pass>" "UUID=$uuid / $filesystem $options 0 1" \
  "/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0" >/mnt/etc/fstab
mkdir -p /dev/disk/by-uuid
ln -s "$part" "/dev/disk/by-uuid/$uuid"
for each in dev proc sys; do mount --rbind "/$each" "/mnt/$each"; done
cat >/mnt/etc/default/grub <<END
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=quiet
GRUB_CMDLINE_LINUX="$words"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND=serial
END
# The one maker of initrds that Debian has. Small initrds, because the machine makes them itself and is slow at it.
dpkg --root=/mnt --purge dracut-core
rm -r /mnt/etc/dracut.conf.d
echo "$filesystem" >>/mnt/etc/initramfs-tools/modules
echo COMPRESSLEVEL=1 >>/mnt/etc/initramfs-tools/conf.d/machine
chroot /mnt update-initramfs -u
chroot /mnt grub-install --target=i386-pc "$disk"
chroot /mnt update-grub
umount -R /mnt
'

# The commands of a section of the page: its first, second … block.
page() { # HEADING WHICH
  local commands
  commands=$(awk -v heading="## $1" -v which="$2" '
    /^## / { here = $0 == heading }
    here && /^```/ { blocks += !inside; inside = !inside; next }
    here && inside && blocks == which' "$top/docs/moving.md")
  [[ -n $commands ]] || die "docs/moving.md has no block $2 below: $1"
  printf '%s\n' "$commands"
}

# In the machine: what is typed, at a terminal, by somebody who agrees to everything.
# shellcheck disable=SC2016 # for the shell in the machine
typing='
cd /run/payload
# The test has the last word before the machine goes down.
reboot() { touch /run/was-rebooted; }
export -f reboot
typed() { # FILE
  # One by one: apt-get takes along whatever was typed before its end.
  while sleep 1 && echo y; do :; done 2>/dev/null | SHELL=/bin/bash script -qefc "bash -ex $1" /dev/null
}
'

test_plain_btrfs() {
  local kernel
  firmware=true limit=1500
  install_plain btrfs
  fetch_kernel
  page 'Debian on btrfs' 1 >"$work/walk"
  page 'Debian on btrfs' 2 | sed 's|install nginx|install /persist/kernel.deb|' >"$work/after"
  cp "$kernels/$kernel.deb" "$work/kernel.deb"
  more_disks=(--payload "$work/state" --payload "$work/walk" --payload "$work/after")
  boot 'a plain Debian on btrfs' < <(printf '%s' "$typing" && cat <<'GUEST'
    check 'GRUB has started it' grep -q 'BOOT_IMAGE=/@rootfs/boot/vmlinuz' /proc/cmdline
    check 'root is where the installer puts it' says '[/@rootfs]' findmnt -no SOURCE /
    check 'what the page says can be typed' ends 0 typed walk
    check 'up to the reboot' test -e /run/was-rebooted
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
GUEST
  )
  more_disks+=(--payload "$work/kernel.deb")
  boot 'after it' < <(printf '%s' "$typing" && cat <<'GUEST'
    check 'GRUB has started it' grep -q 'BOOT_IMAGE=/@rootfs/boot/vmlinuz' /proc/cmdline
    check 'this boot was reset' ends 0 state status
    check 'and it says so' says reset state status
    check 'the clutter is gone' not test -e /etc/clutter
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'the past root has the clutter' says clutter state roots diff latest
    check 'the doctor is content' ends 0 state doctor
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    cp kernel.deb /persist/
    uname -r >/persist/release-was
    check 'what the page says then can be typed' ends 0 typed after
    check 'the doctor is content with the new kernel' ends 0 state doctor
    check 'and GRUB has it in its menu, where it is' grep -q "linux.*/@rootfs/boot/vmlinuz.*subvol=@rootfs" /boot/grub/grub.cfg
    echo more >/etc/more
GUEST
  )
  boot 'with the kernel that was installed' <<'GUEST'
    check 'GRUB has started it' grep -q 'BOOT_IMAGE=/@rootfs/boot/vmlinuz' /proc/cmdline
    check 'this boot was reset' ends 0 state status
    check 'the kernel is the new one' not grep -qxF "$(uname -r)" /persist/release-was
    check 'it has its modules' modprobe dummy
    check 'the clutter is gone' not test -e /etc/more
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'the doctor is content' ends 0 state doctor
GUEST
}

test_plain_ext4() {
  firmware=true limit=1500
  install_plain ext4
  truncate -s 1G "$work/second"
  mkdir -p "$work/packages"
  (cd "$work/packages" && private_apt apt-get -qq download dracut dracut-core && mv dracut_*.deb dracut.deb && mv dracut-core_*.deb dracut-core.deb)
  # No network there: the packages come along. And /dev/vdb has the partition that the page is about.
  page 'Debian on ext4, as an overlay' 1 | sed 's|install dracut|install ./dracut.deb ./dracut-core.deb|' >"$work/walk"
  page 'Debian on ext4, as an overlay' 2 >"$work/after"
  local always=(--attach "$work/second" --payload "$work/state" --payload "$work/walk" --payload "$work/after")
  more_disks=("${always[@]}" --payload "$work/packages/dracut.deb" --payload "$work/packages/dracut-core.deb"
    --payload "$vm_dir/machine/etc/dracut.conf.d/10-machine.conf")
  boot 'a plain Debian on ext4' < <(printf '%s' "$typing" && cat <<'GUEST'
    check 'GRUB has started it' grep -q 'BOOT_IMAGE=/boot/vmlinuz' /proc/cmdline
    check 'root is ext4' says ext4 findmnt -no FSTYPE /
    echo , | sfdisk -q /dev/vdb && udevadm settle
    # As all machines here have it: dracut takes a tenth of the time.
    install -D -m 644 -t /etc/dracut.conf.d 10-machine.conf
    check 'what the page says can be typed' ends 0 typed walk
    check 'up to the reboot' test -e /run/was-rebooted
    cat /etc/machine-id >/persist/machine-id-was
GUEST
  )
  more_disks=("${always[@]}")
  boot 'after it' < <(printf '%s' "$typing" && cat <<'GUEST'
    check 'GRUB has started it' grep -q 'BOOT_IMAGE=/boot/vmlinuz' /proc/cmdline
    check 'root is an overlay' says overlay findmnt -no FSTYPE /
    check 'this boot was reset' ends 0 state status
    check 'what is installed cannot be written' not touch /run/state/overlay/lower/spoilt
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    check 'the doctor is content' ends 0 state doctor
    check 'what the page says then can be typed' ends 0 typed after
    echo clutter >/etc/clutter
    rm /etc/issue
GUEST
  )
  boot 'and after that' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'the clutter is gone' not test -e /etc/clutter
    check 'what was deleted is back' test -s /etc/issue
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'the past root has the clutter' says clutter state roots diff latest
GUEST
}
