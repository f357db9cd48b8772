//! What machines usually want to keep, each with the reason that goes into the configuration.

/// A path that is proposed when the machine has it.
pub(super) struct Wanted {
    pub(super) path: &'static str,
    pub(super) why: &'static str,
    /// Only where NixOS does not make it from its own configuration.
    pub(super) not_on_nixos: bool,
}

const fn keep(path: &'static str, why: &'static str) -> Wanted {
    Wanted {
        path,
        why,
        not_on_nixos: false,
    }
}

const fn elsewhere(path: &'static str, why: &'static str) -> Wanted {
    Wanted {
        path,
        why,
        not_on_nixos: true,
    }
}

/// Directories, in the order they are proposed. A path inside one proposed earlier is left out.
pub(super) const DIRECTORIES: &[Wanted] = &[
    keep("/home", "people's files"),
    keep("/root", "root's files"),
    keep("/srv", "what this machine serves"),
    keep("/var/log", "what happened before the last boot"),
    keep(
        "/var/lib/nixos",
        "the numbers of users and groups, or files change owners",
    ),
    keep(
        "/var/lib/systemd",
        "timers' last runs, the random seed, core dumps",
    ),
    keep(
        "/var/lib/private",
        "what services with users of their own keep",
    ),
    keep("/etc/nixos", "this machine's configuration"),
    keep(
        "/etc/NetworkManager/system-connections",
        "known networks and their passwords",
    ),
    keep("/var/lib/iwd", "known networks and their passwords"),
    elsewhere("/etc/netplan", "the network's configuration"),
    elsewhere("/etc/network", "the network's configuration"),
    keep("/etc/wireguard", "the keys of tunnels"),
    keep("/var/lib/tailscale", "this machine's place in its network"),
    keep("/var/lib/bluetooth", "paired devices"),
    keep("/var/lib/fprint", "enrolled fingerprints"),
    keep("/var/lib/AccountsService", "the login screen's choices"),
    keep("/var/lib/upower", "the battery's history"),
    keep("/var/lib/colord", "colour profiles"),
    keep("/etc/cups", "printers"),
    keep("/var/lib/cups", "printers"),
    keep("/var/spool/cron", "people's cron tables"),
    keep("/var/spool/at", "waiting jobs"),
    keep("/var/lib/acme", "certificates"),
    keep("/etc/letsencrypt", "certificates"),
    keep("/var/lib/postgresql", "databases"),
    keep("/var/lib/mysql", "databases"),
    keep("/var/lib/redis", "databases"),
    keep("/var/lib/docker", "images, containers and volumes"),
    keep("/var/lib/containers", "images, containers and volumes"),
    keep("/var/lib/libvirt", "virtual machines"),
    keep("/var/lib/machines", "containers"),
    keep("/var/lib/flatpak", "installed applications"),
    keep("/var/lib/sbctl", "the keys of secure boot"),
    keep("/etc/secureboot", "the keys of secure boot"),
];

/// Files. Not those that programs replace by renaming, which a bind mount forbids.
pub(super) const FILES: &[Wanted] = &[keep(
    "/etc/machine-id",
    "who this machine is: logs and leases go by it",
)];
