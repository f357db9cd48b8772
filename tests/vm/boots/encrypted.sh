# shellcheck shell=bash disable=SC2154 # boot, which reads this, has set them

# A disk is laid out with LUKS below everything: made, opened and filled; opened again after a boot, with the passphrase.
test_encrypted() {
  install_machine dracut
  truncate -s 1G "$work/new"
  # shellcheck disable=SC2034 # boot uses it
  more_disks=(--attach "$work/new")
  boot 'a disk is encrypted' <<'GUEST'
    modprobe dm-crypt
    install -m 600 /dev/null /run/pass && echo 'a pass phrase' >/run/pass
    lay_out() { state --yes provision /dev/vdb --backend btrfs --encrypt=lab --passphrase-file "$1" --into /mnt/lab --name lab; }
    mkdir -p /mnt/lab
    : >/run/empty
    check 'an empty passphrase is refused' not lay_out /run/empty
    check 'and nothing was written' not blkid /dev/vdb
    check 'it is laid out' ends 0 lay_out /run/pass
    check 'as LUKS' says crypto_LUKS blkid -o value -s TYPE /dev/vdb
    check 'with the store on what was opened' says /dev/mapper/lab findmnt -no SOURCE /mnt/lab/persist
    check 'and the line that opens it at boot' says "UUID=$(blkid -o value -s UUID /dev/vdb)" cat /mnt/lab/persist/etc/state/crypttab
    echo letter >/mnt/lab/persist/letter
    check 'again it is not encrypted' says 'is there already' lay_out /run/pass
    check 'but seen to be whole' says 'Nothing is to be done' state --yes provision /dev/mapper/lab --backend btrfs --into /mnt/lab --name lab
    check 'what is in use is not laid out anew' not state --yes provision /dev/vdb --backend overlay --into /mnt/other
GUEST
  boot 'another boot' <<'GUEST'
    modprobe dm-crypt
    check 'it opens with the passphrase' cryptsetup open --key-file <(printf 'a pass phrase') /dev/vdb lab
    mount -o subvol=persist /dev/mapper/lab /mnt
    check 'and holds what was put there' grep -qx letter /mnt/letter
GUEST
}
