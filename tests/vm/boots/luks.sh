# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# Root on a btrfs of two devices, each of them encrypted, opened in the initrd with a key that is in there. QEMU writes the
# same LUKS headers as cryptsetup and needs no device-mapper for that.
test_luks() {
  local uuid=a3f1c9de-52f0-4d3e-8a43-7d6c2f1b9e10 each daemon disks=("$work/disk" "$work/disk2") plain=("$work/plain1" "$work/plain2")
  rm -rf "${work:?}/boot"
  mkdir -p "$work/boot"
  cp "$machine/vmlinuz" "$work/boot/"
  printf 'a key of the test' >"$work/key"
  local secret="secret,id=key,file=$work/key" exports=()
  for each in 0 1; do
    # A short time to derive the key: emulation takes twenty times as long.
    qemu-img create -q -f luks --object "$secret" -o key-secret=key,iter-time=10 "${disks[each]}" 1G
    : >"${plain[each]}"
    exports+=(--blockdev "driver=file,node-name=file$each,filename=${disks[each]},cache.no-flush=on"
      --blockdev "driver=luks,node-name=plain$each,file=file$each,key-secret=key"
      --export "type=fuse,id=export$each,node-name=plain$each,mountpoint=${plain[each]},writable=on")
  done
  setpriv --pdeathsig KILL qemu-storage-daemon --object "$secret" "${exports[@]}" &
  daemon=$!
  for _ in {1..300}; do [[ -s ${plain[0]} && -s ${plain[1]} ]] && break; sleep 0.1; done
  mkfs.btrfs -q --data single --metadata raid1 -U "$uuid" "${plain[@]}" >/dev/null
  # Everything as it is installed, on other disks.
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount --propagation private bash -euc '
    mkdir "$1/from" "$1/to"
    mount -o loop,ro,subvol=root "$2" "$1/from"
    for each in "$3" "$4"; do devices+=("$(losetup --find --show "$each")"); done
    trap "umount $1/to $1/from; losetup -d ${devices[*]}" EXIT
    btrfs device scan "${devices[@]}" >/dev/null
    mount "${devices[0]}" "$1/to"
    btrfs -q subvolume create "$1/to/root"
    btrfs -q subvolume create "$1/to/persist"
    cp -a "$1/from/." "$1/to/root/"
  ' copy "$work" "$machine/disk" "${plain[@]}"
  inside "${plain[0]},${plain[1]}" "
    sed -i 's/UUID=[0-9a-f-]*/UUID=$uuid/' /etc/fstab
    mkdir -m 700 /etc/keys
    printf 'a key of the test' >/etc/keys/disks
    for each in 1=$(blkid -s UUID -o value "${disks[0]}") 2=$(blkid -s UUID -o value "${disks[1]}"); do
      echo \"plain\${each%=*} UUID=\${each#*=} /etc/keys/disks luks\" >>/etc/crypttab
    done
    printf '%s\n' 'add_dracutmodules+=\" crypt dm \"' 'install_items+=\" /etc/crypttab /etc/keys/disks \"' >/etc/dracut.conf.d/20-crypt.conf
    install -m 755 /tmp/state /usr/local/bin/
    state --yes init --migrate --install-boot=dracut
  " >"$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    die "the machine could not be installed"
  }
  kill "$daemon"
  wait "$daemon" || :
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--attach "${disks[1]}")
  # shellcheck disable=SC2034 # boot uses it
  root_words="root=UUID=$uuid rootflags=subvol=root"
  boot 'LUKS below a btrfs of two devices' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'root is on what was decrypted' says /dev/dm- findmnt -no SOURCE /
    check 'there are two of them' test "$(btrfs filesystem show / | grep -c /dev/mapper/plain)" = 2
    check 'nothing failed' says '0 loaded units listed' systemctl --failed
    cat /etc/machine-id >/persist/machine-id-was
    echo clutter >/etc/clutter
GUEST
  boot 'after it' <<'GUEST'
    check 'this boot was reset' ends 0 state status
    check 'the clutter is gone' not test -e /etc/clutter
    check 'it is the same machine' cmp /etc/machine-id /persist/machine-id-was
    check 'the past root has the clutter' says clutter state roots diff latest
GUEST
}
