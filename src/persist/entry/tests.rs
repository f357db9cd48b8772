use super::*;

#[test]
fn what_later_things_depend_on_is_early() {
    for (path, early) in [
        ("/etc/machine-id", true),
        ("/etc/passwd", true),
        ("/etc/ssh/ssh_host_ed25519_key", true),
        ("/etc/ssh/ssh_host_rsa_key.pub", true),
        ("/etc/ssh", true),
        ("/etc", true),
        ("/var/lib", true),
        ("/var/lib/nixos", true),
        ("/var/lib/sops-nix/key.txt", true),
        ("/root/.config/sops/age", true),
        ("/etc/ssh/sshd_config", false),
        ("/var/lib/nixos-containers", false),
        ("/var/log", false),
        ("/etc/nixos", false),
    ] {
        assert_eq!(is_needed_early(Path::new(path)), early, "{path}");
    }
}

#[test]
fn modes_are_octal() {
    for (text, expected) in [
        ("0750", Some(0o750)),
        ("750", Some(0o750)),
        ("1777", Some(0o1777)),
        ("10000", None),
        ("0o750", None),
        ("+750", None),
        ("0788", None),
        ("", None),
    ] {
        assert_eq!(parse_mode(text), expected, "{text:?}");
    }
}

#[test]
fn secrets_are_never_made_readable() {
    for (path, mode) in [
        ("/var/lib/private", Some(0o700)),
        ("/home/ann/.ssh", Some(0o700)),
        ("/etc/ssh/ssh_host_ed25519_key", Some(0o600)),
        ("/etc/ssh/ssh_host_ed25519_key.pub", None),
        ("/etc/shadow", Some(0o600)),
        ("/var/lib/foo", None),
    ] {
        assert_eq!(well_known_mode(Path::new(path)), mode, "{path}");
    }
}
