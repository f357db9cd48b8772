# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them
# Renewing blank: what is installed in a copy of it is there from the next boot on, with its user, its data and its
# modules, until that is taken back; and a command that fails changes nothing.

# Packages for a machine without a network: a service with a user and data of its own, and a kernel with its modules.
# shellcheck disable=SC2016 # for the machine's shell, and those of the packages
renew_packages='
repo=/persist/repo
package() { # NAME: what it holds is in /tmp/NAME
  mkdir -p "/tmp/$1/DEBIAN"
  printf "%s\n" "Package: $1" "Version: 1" "Architecture: all" "Maintainer: nobody <nobody@localhost>" \
    "Description: for a test" >"/tmp/$1/DEBIAN/control"
  dpkg-deb --build --root-owner-group "/tmp/$1" "$repo/$1.deb"
  dpkg-deb -f "$repo/$1.deb" >>"$repo/Packages"
  printf "%s\n" "Filename: ./$1.deb" "Size: $(stat -c %s "$repo/$1.deb")" \
    "SHA256: $(sha256sum <"$repo/$1.deb" | cut -d" " -f1)" "" >>"$repo/Packages"
}
mkdir -p "$repo" /tmp/thing/{usr/sbin,lib/systemd/system,DEBIAN} /tmp/linux-image-9.9.9-thing/{boot,lib/modules/9.9.9-thing}
printf "%s\n" "#!/bin/sh" "echo started >>/var/lib/thing/starts" >/tmp/thing/usr/sbin/thingd
printf "%s\n" "[Service]" Type=oneshot RemainAfterExit=yes User=thing ExecStart=/usr/sbin/thingd \
  "[Install]" WantedBy=multi-user.target >/tmp/thing/lib/systemd/system/thing.service
printf "%s\n" "#!/bin/sh" "set -e" "adduser --quiet --system --group --home /var/lib/thing thing" \
  "echo made by the package >/var/lib/thing/made" "chown thing: /var/lib/thing /var/lib/thing/made" \
  "deb-systemd-helper enable thing.service" "deb-systemd-invoke start thing.service" "invoke-rc.d --quiet ssh restart" \
  >/tmp/thing/DEBIAN/postinst
chmod 755 /tmp/thing/usr/sbin/thingd /tmp/thing/DEBIAN/postinst
echo kernel >/tmp/linux-image-9.9.9-thing/boot/vmlinuz-9.9.9-thing
echo modules >/tmp/linux-image-9.9.9-thing/lib/modules/9.9.9-thing/modules.dep
package thing
package linux-image-9.9.9-thing
rm -f /etc/apt/sources.list.d/*
echo "deb [trusted=yes] file:$repo ./" >/etc/apt/sources.list
'

test_renew() {
  install_machine dracut
  inside "$work/disk" "$renew_packages"'
    for each in shadow group passwd; do
      sed -i "s|^files = \[|&\n  { path = \"/etc/$each\", method = \"copy\" },|" /persist/etc/state/state.toml
    done
    sed -i "s|^directories = \[|&\n  \"/var/lib/thing\",|" /persist/etc/state/state.toml
    cp -a --parents /etc/{passwd,group,shadow} /persist
    state init --install-boot=dracut
    state --yes blank take
  ' >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2 && die "the machine could not be changed"; }
  # shellcheck disable=SC2016 # for the machine's shell
  local installed='
    check "this boot was reset" ends 0 state status
    check "nothing failed" says "0 loaded units listed" systemctl --failed
    check "the service runs" systemctl is-active thing.service
    check "as its user" test "$(stat -c %U /var/lib/thing/starts)" = thing
    check "the package is known" dpkg --verify thing
    check "what it made is there" grep -qx "made by the package" /persist/var/lib/thing/made
    check "the kernel has its modules" grep -qx modules /lib/modules/9.9.9-thing/modules.dep
    check "and is in /boot" test -s /boot/vmlinuz-9.9.9-thing
    started() { test "$(wc -l </var/lib/thing/starts)" = "$1"; }
  '
  boot 'a machine whose blank is renewed' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'packages are installed in a copy of blank' \
      ends 0 state blank run -- sh -c 'apt-get update && apt-get -y install thing linux-image-9.9.9-thing'
    check 'no service was started' not test -e /var/lib/thing/starts
    check 'nor is it in the running root' not test -e /usr/sbin/thingd
    check 'the new user is known at once' getent passwd thing
    check 'and to the store' grep -q '^thing:' /persist/etc/passwd
    check 'the root that starts next has the kernel' test -s /boot/vmlinuz-9.9.9-thing
    check 'nothing is mounted still' not grep -q root-blank /proc/self/mountinfo
    check 'blank is blank' ends 0 state blank verify
    check 'and holds nothing that was only lent' not grep -rq 'state blank run' /usr/sbin
    cat /etc/machine-id >/persist/machine-id-was
GUEST
  boot 'its first boot' < <(printf '%s' "$installed" && cat <<'GUEST'
    check 'the service has started once' started 1
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
GUEST
  )
  boot 'its second boot' < <(printf '%s' "$installed" && cat <<'GUEST'
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
  boot 'taken back' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'the program is gone' not test -e /usr/sbin/thingd
    check 'the package is not known' not dpkg --status thing
    check 'nor are its modules there' not test -e /lib/modules/9.9.9-thing
    check 'nor its kernel' not test -e /boot/vmlinuz-9.9.9-thing
    check 'the modules of this kernel are' test -d "/lib/modules/$(uname -r)/kernel"
    check 'its data are kept' test "$(wc -l </var/lib/thing/starts)" = 2
    check 'with their owner' test "$(stat -c %U /var/lib/thing/starts)" = thing
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'that is taken back as well' ends 0 state blank undo
GUEST
  boot 'and back again' < <(printf '%s' "$installed" && cat <<'GUEST'
    check 'its data are those of two boots before' started 3
GUEST
  )
}
