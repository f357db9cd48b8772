# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them
# Renewing blank: what is installed in a copy of it is there from the next boot on, with its user, its data and its
# modules, until that is taken back; and a command that fails changes nothing.

# Packages for a machine without a network: a service with a user and data of its own, and another kernel of Debian's.
# shellcheck disable=SC2016 # for the machine's shell, and those of the packages
renew_packages='
repo=/persist/repo
list() { # NAME
  dpkg-deb -f "$repo/$1.deb" >>"$repo/Packages"
  printf "%s\n" "Filename: ./$1.deb" "Size: $(stat -c %s "$repo/$1.deb")" \
    "SHA256: $(sha256sum <"$repo/$1.deb" | cut -d" " -f1)" "" >>"$repo/Packages"
}
mkdir -p "$repo" /tmp/thing/{usr/sbin,lib/systemd/system,DEBIAN}
printf "%s\n" "Package: thing" "Version: 1" "Architecture: all" "Maintainer: nobody <nobody@localhost>" \
  "Description: for a test" >/tmp/thing/DEBIAN/control
printf "%s\n" "#!/bin/sh" "echo started >>/var/lib/thing/starts" >/tmp/thing/usr/sbin/thingd
printf "%s\n" "[Service]" Type=oneshot RemainAfterExit=yes User=thing ExecStart=/usr/sbin/thingd \
  "[Install]" WantedBy=multi-user.target >/tmp/thing/lib/systemd/system/thing.service
printf "%s\n" "#!/bin/sh" "set -e" "adduser --quiet --system --group --home /var/lib/thing thing" \
  "echo made by the package >/var/lib/thing/made" "chown thing: /var/lib/thing /var/lib/thing/made" \
  "deb-systemd-helper enable thing.service" "deb-systemd-invoke start thing.service" "invoke-rc.d --quiet ssh restart" \
  >/tmp/thing/DEBIAN/postinst
chmod 755 /tmp/thing/usr/sbin/thingd /tmp/thing/DEBIAN/postinst
dpkg-deb --build --root-owner-group /tmp/thing "$repo/thing.deb"
list thing
mv "/persist/$kernel.deb" "$repo"
list "$kernel"
rm -f /etc/apt/sources.list.d/*
echo "deb [trusted=yes] file:$repo ./" >/etc/apt/sources.list
'

# Another kernel than the machine's, of the same kind; sets `kernel`, the package, whose file is then in $kernels.
kernels=$vm_cache/kernels
fetch_kernel() {
  kernel=$(private_apt apt-cache search --names-only '^linux-image-[0-9.]+\+deb12(\.[0-9]+)?-cloud-amd64$' | cut -d ' ' -f 1 |
    grep -vxF "linux-image-$(<"$machine/release")" | sort -V | tail -n 1)
  [[ -n $kernel ]] || die "there is no other kernel"
  mkdir -p "$kernels"
  if [[ ! -e $kernels/$kernel.deb ]]; then
    rm -rf "${kernels:?}"/*
    (cd "$work" && private_apt apt-get -qq download "$kernel")
    mv "$work/$kernel"_*.deb "$kernels/$kernel.deb"
  fi
}

kernel_to_store() {
  unshare --mount --propagation private bash -euc '
    mkdir -p "$1/store"
    mount -o loop,subvol=persist "$1/disk" "$1/store"
    cp "$2" "$1/store/"
    umount "$1/store"
  ' store "$work" "$kernels/$kernel.deb"
}

# What a boot loader does: it takes the newest kernel that the machine has left in /boot, and its initrd.
load_kernel() {
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount --propagation private bash -euc '
    mkdir -p "$1/boot-loader"
    mount -o loop,ro,subvol=root "$1/disk" "$1/boot-loader"
    newest=$(printf "%s\n" "$1"/boot-loader/boot/vmlinuz-* | sort -V | tail -n 1)
    newest=${newest##*/vmlinuz-}
    cp "$1/boot-loader/boot/vmlinuz-$newest" "$1/boot/vmlinuz"
    cp "$1/boot-loader/boot/initrd.img-$newest" "$1/boot/initrd"
    umount "$1/boot-loader"
    echo "vm: the boot loader starts $newest" >&2
  ' load "$work"
}

test_renew() {
  local kernel
  install_machine initramfs-tools
  fetch_kernel
  kernel_to_store
  inside "$work/disk" "kernel=$kernel $renew_packages"'
    for each in shadow group passwd; do
      sed -i "s|^files = \[|&\n  { path = \"/etc/$each\", method = \"copy\" },|" /persist/etc/state/state.toml
    done
    sed -i "s|^directories = \[|&\n  \"/var/lib/thing\",|" /persist/etc/state/state.toml
    cp -a --parents /etc/{passwd,group,shadow} /persist
    # The machine makes an initrd itself, and is slow at it.
    echo COMPRESSLEVEL=1 >>/etc/initramfs-tools/conf.d/machine
    state init --install-boot=initramfs-tools
    state --yes blank take
  ' >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2 && die "the machine could not be changed"; }
  # shellcheck disable=SC2016 # for the machine's shell
  local own='
    other_is() { [[ $(uname -r) != "$(cat /persist/release-was)" && linux-image-$(uname -r) == '"$kernel"' ]]; }
    has_modules() { test -d "/lib/modules/$(uname -r)/kernel" && modprobe dummy && grep -q ^dummy /proc/modules; }
    check "the kernel has its modules" has_modules
  ' installed='
    check "this boot was reset" ends 0 state status
    check "nothing failed" says "0 loaded units listed" systemctl --failed
    check "the service runs" systemctl is-active thing.service
    check "as its user" test "$(stat -c %U /var/lib/thing/starts)" = thing
    check "the package is known" dpkg --verify thing
    check "what it made is there" grep -qx "made by the package" /persist/var/lib/thing/made
    check "the kernel is the one that was installed" other_is
    started() { test "$(wc -l </var/lib/thing/starts)" = "$1"; }
  '
  boot 'a machine whose blank is renewed' < <(printf '%s' "kernel=$kernel $own" && cat <<'GUEST'
    check 'this boot was reset' ends 0 state status
    uname -r >/persist/release-was
    check 'packages are installed in a copy of blank' \
      ends 0 state blank run -- sh -c "apt-get update && apt-get -y install thing $kernel"
    check 'no service was started' not test -e /var/lib/thing/starts
    check 'nor is it in the running root' not test -e /usr/sbin/thingd
    check 'the new user is known at once' getent passwd thing
    check 'and to the store' grep -q '^thing:' /persist/etc/passwd
    check 'what the boot loader reads has the kernel' test -s "/boot/vmlinuz-${kernel#linux-image-}"
    check 'and its initrd' test -s "/boot/initrd.img-${kernel#linux-image-}"
    check 'nothing is mounted still' not grep -q root-blank /proc/self/mountinfo
    check 'blank is blank' ends 0 state blank verify
    check 'and holds nothing that was only lent' not grep -rq 'state blank run' /usr/sbin
    cat /etc/machine-id >/persist/machine-id-was
GUEST
  )
  load_kernel
  boot 'its first boot' < <(printf '%s' "$own$installed" && cat <<'GUEST'
    check 'the service has started once' started 1
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
GUEST
  )
  load_kernel
  boot 'its second boot' < <(printf '%s' "$own$installed" && cat <<'GUEST'
    check 'its data are those of the boot before' started 2
    state blank show --json | grep -v age >/tmp/before
    check 'a command that fails passes its status on' \
      ends 9 state blank run -- sh -c 'rm /usr/sbin/thingd; adduser --quiet --system other; echo x >/etc/new; exit 9'
    check 'an installation that fails as well' ends 100 state blank run -- apt-get -y install nothing-of-that-name
    state blank show --json | grep -v age >/tmp/after
    check 'and both change nothing' cmp /tmp/before /tmp/after
    check 'in no passwd either' not grep -q '^other:' /etc/passwd /persist/etc/passwd
    check 'the renewal is taken back' ends 0 state blank undo
GUEST
  )
  load_kernel
  boot 'taken back' < <(printf '%s' "$own" && cat <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'the program is gone' not test -e /usr/sbin/thingd
    check 'the package is not known' not dpkg --status thing
    check 'the kernel is the one before it' test "$(uname -r)" = "$(cat /persist/release-was)"
    check 'of the other nothing is left' test "$(ls /lib/modules /boot | grep -c '6\.')" = "$(ls /lib/modules /boot | grep -c "$(uname -r)")"
    check 'its data are kept' test "$(wc -l </var/lib/thing/starts)" = 2
    check 'with their owner' test "$(stat -c %U /var/lib/thing/starts)" = thing
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'that is taken back as well' ends 0 state blank undo
GUEST
  )
  load_kernel
  boot 'and back again' < <(printf '%s' "$own$installed" && cat <<'GUEST'
    check 'its data are those of two boots before' started 3
GUEST
  )
}
