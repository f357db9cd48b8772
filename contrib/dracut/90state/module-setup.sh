#!/bin/bash
# dracut module: `state reset` before root is mounted, and the early entries before the system starts.
# Lies in /usr/lib/dracut/modules.d/90state. Wants dracut's systemd.

# dracut's own has only what the distribution installed.
PATH=$PATH:/usr/local/bin:/usr/local/sbin

# 255: only where it is asked for, as /etc/dracut.conf.d/90-state.conf does.
check() {
    require_binaries state || return 1
    return 255
}

depends() {
    echo systemd-initrd
}

# Units, their links and the configuration come from the program, so that they always fit each other.
install() {
    inst_multiple mount
    inst "$(command -v state)" /usr/bin/state
    state init --initrd-files "$initdir" || {
        dfatal "state: what it needs in the initrd could not be written: the machine would boot without a reset"
        exit 1
    }
    # What the kernel needs to mount root, where the initrd's own sysroot.mount is not enough.
    local MODULES=""
    # shellcheck source=/dev/null
    . "$initdir/etc/state/boot.conf"
    # shellcheck disable=SC2086 # a list of words
    [ -z "$MODULES" ] || instmods $MODULES
}
