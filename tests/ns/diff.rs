//! `state diff` on a root in memory: complete, and quiet about what is kept.

use crate::harness::ns;
use std::fs;
use std::os::unix::fs::symlink;

const TEXT: &str = r#"
    [root]
    backend = "tmpfs"
    [persist."/persist"]
    directories = ["/var/lib/nixos", "/srv/bound"]
    files = ["/etc/machine-id", "/etc/bound", { path = "/etc/linked", method = "symlink" }]
    [diff]
    ignore = ["/var/tmp/**"]
"#;

ns! {
    fn ns_the_diff_of_a_root_in_memory_is_complete_and_quiet(machine) {
        machine.configure(&["/persist"], TEXT);
        machine.mount_tmpfs("/proc");
        machine.mount_tmpfs("/mnt/disk");
        machine.write("/proc/cpuinfo", "not compared");
        machine.write("/persist/etc/machine-id", "0123456789abcdef0123456789abcdef");
        machine.write("/persist/srv/bound/hidden", "before it was mounted");
        machine.write("/srv/bound/hidden", "before it was mounted");
        assert_eq!(machine.mount(&[]).0, 0);
        machine.write("/srv/bound/kept", "in the store");
        machine.write("/mnt/disk/apart", "on its own disk");
        machine.write("/etc/resolv.conf", "made anew");
        machine.write("/tmp/x/y", "temporary");
        machine.write("/var/tmp/x", "ignored");
        symlink("/nix/store/hash-hosts", machine.at("/etc/hosts")).unwrap();
        // What would be lost.
        machine.write("/etc/two\nlines", "1234");
        machine.write("/opt/app/a/b", &"x".repeat(2048));
        machine.directory("/opt/app/empty", 0o700);
        machine.write("/var/lib/app.db", "");
        fs::remove_file(machine.at("/etc/linked")).unwrap();
        machine.write("/etc/linked", "a program replaced the link");

        let said = machine.state(["diff", "-0"]);
        let expected = [
            "/etc/linked",
            "/etc/two\nlines",
            "/opt/app",
            "/opt/app/a",
            "/opt/app/a/b",
            "/opt/app/empty",
            "/srv/bound/hidden",
            "/var/lib/app.db",
        ];
        let paths: Vec<_> = said.out.split_terminator('\0').collect();
        assert_eq!(paths, expected);
        let said = machine.state(["diff"]);
        let summary = said.out.lines().last().unwrap();
        assert!(
            summary.starts_with("8 created: 2.1 KiB would be lost at the next reset ("),
            "{summary}"
        );
        assert_eq!((said.code, said.err.as_str()), (0, ""));

        let said = machine.state(["diff", "-0", "/opt"]);
        assert_eq!(said.out, "/opt/app\0/opt/app/a\0/opt/app/a/b\0/opt/app/empty\0");
        let said = machine.state(["diff", "--all", "/etc/hosts"]);
        assert!(said.out.contains("to /nix/store/hash-hosts, made by NixOS\n"), "{said:?}");
        let said = machine.state(["diff", "/etc/misspelt"]);
        assert_eq!(said.err, "error: /etc/misspelt does not exist\n");
        assert_eq!(said.code, 1);
    }
}
