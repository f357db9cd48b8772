# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them
# shellcheck disable=SC2016 # what stands in single quotes is expanded on the machine

# The initrds that the real makers made are read back, and what makes them wrong is found. Nothing is booted.
test_built() {
  local maker
  for maker in dracut initramfs-tools; do
    install_machine "$maker"
    inside "$work/disk" "$prelude"'
      initrds() { state doctor --json | tr -d "\n" | grep -o "\"check\": \"initrd\"[^}]*" || true; }
      check "the initrd is right" test -z "$(initrds)"
      echo >>/persist/etc/state/state.toml
      check "a configuration that changed is found" says "the configuration in it is not" initrds
      check "installing reads back what it made" says "a boot with it is reset" state init --install-boot='"$maker"'
      check "made anew, it is right" test -z "$(initrds)"
      mkdir -p /boot/loader/entries
      printf "title Debian\nlinux /vmlinuz\noptions rootflags=subvol=root ro state.skip\n" >/boot/loader/entries/debian.conf
      check "a menu without a reset is found" says "\"Debian\" says state.skip" state doctor
      rm -r /boot/loader
      cp /usr/local/bin/state /tmp/whole
      dd if=/dev/urandom of=/usr/local/bin/state bs=4096 count=1 seek=200 conv=notrunc status=none
      check "another program is found" says "the program in it is another than" /tmp/whole doctor
      rm /boot/initrd.img-*
      check "no initrd at all is found" says "no initrd was found" /tmp/whole doctor
      touch /boot/initrd.img-0
      exit $failed
    ' >"$work/out" 2>&1 || failures=$((failures + 1))
    cat "$work/out"
  done
}
