//! Putting entries in place: sources, parents, owners, order.

use crate::harness::ns;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

ns! {
    fn ns_entries_are_put_in_place_and_then_nothing_is_to_do(machine) {
        machine.configure(&["/persist", "/cache"], r#"
            [persist."/persist"]
            directories = ["/var/lib/nixos", "/srv"]
            files = ["/etc/adjtime", { path = "/etc/conf", method = "symlink" }]
            [persist."/cache"]
            class = "cache"
            directories = [{ path = "/var/cache", method = "symlink" }]
        "#);
        machine.write("/persist/var/lib/nixos/uid-map", "{}");
        machine.write("/persist/etc/adjtime", "0.0");
        let (code, told) = machine.mount(&[]);
        let paths = ["/etc/adjtime", "/etc/conf", "/srv", "/var/cache", "/var/lib/nixos"];
        assert_eq!(told, paths.map(|path| format!("{path}: done")));
        assert_eq!(code, 0);
        assert_eq!(machine.read("/var/lib/nixos/uid-map"), "{}");
        for path in ["/etc/adjtime", "/srv", "/var/lib/nixos"] {
            assert!(machine.is_same(path, format!("/persist{path}")), "{path}");
        }
        for (path, target) in [("/etc/conf", "/persist/etc/conf"), ("/var/cache", "/cache/var/cache")] {
            assert_eq!(fs::read_link(machine.at(path)).unwrap(), Path::new(target));
            assert!(machine.at(target).exists());
        }
        fs::write(machine.at("/srv/new"), "kept").unwrap();
        assert_eq!(machine.read("/persist/srv/new"), "kept");

        let before = machine.everything();
        let mounts = machine.mounts();
        let (code, told) = machine.mount(&[]);
        assert_eq!(told, paths.map(|path| format!("{path}: in-place")));
        assert_eq!(code, 0);
        assert_eq!((machine.everything(), machine.mounts()), (before, mounts));
    }

    // Row 12: wrong owners and modes of parents made secrets readable and machines unbootable.
    fn ns_missing_parents_are_as_in_the_store_and_present_ones_untouched(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = [
                "/var/lib/private/foo", "/opt/a/b", "/present/x",
                { path = "/declared", mode = "2770" },
            ]
        "#);
        machine.directory("/persist/opt", 0o711);
        machine.directory("/persist/opt/a", 0o1770);
        machine.directory("/persist/opt/a/b", 0o705);
        machine.directory("/present", 0o710);
        machine.directory("/persist/present", 0o777);
        let root = machine.ownership("/");
        let (code, _) = machine.mount(&[]);
        assert_eq!(code, 0);
        for (path, expected) in [
            ("/", root.as_str()),
            ("/opt", "0:0 0711"),
            ("/opt/a", "0:0 1770"),
            ("/opt/a/b", "0:0 0705"),
            ("/present", "0:0 0710"),
            ("/persist/present", "0:0 0777"),
            ("/declared", "0:0 2770"),
            ("/persist/declared", "0:0 2770"),
            ("/var/lib", "0:0 0755"),
            ("/var/lib/private", "0:0 0700"),
            ("/persist/var/lib/private", "0:0 0700"),
            ("/var/lib/private/foo", "0:0 0755"),
        ] {
            assert_eq!(machine.ownership(path), expected, "{path}");
        }
    }

    fn ns_owners_come_from_the_machines_own_users(machine) {
        let id = machine.other_id();
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = [
                { path = "/var/lib/a", user = "ann", mode = "0750" },
                { path = "/var/lib/b", user = "root", group = "daemon" },
                { path = "/var/lib/c", user = "games" },
            ]
            files = [{ path = "/etc/f", user = "ann", group = "0" }]
            [persist."/persist".users.ann]
            directories = ["Documents", { path = ".ssh" }]
            files = [".config/x/y"]
            [persist."/persist".users.nobody-here]
            files = ["z"]
        "#);
        // On this machine `daemon` has another number than everywhere else, and `games` none.
        machine.write("/etc/passwd", &format!("ann:x:{id}:{id}::/home/ann:/bin/sh\nroot:x:0:0::/root:\n"));
        machine.write("/etc/group", &format!("daemon:x:{id}:\n"));
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/etc/f: done",
                "/home/ann/.config/x/y: done",
                "/home/ann/.ssh: done",
                "/home/ann/Documents: done",
                "/var/lib/a: done",
                "/var/lib/b: done",
                "/var/lib/c: failed: nobody is called \"games\" on this machine, so it cannot be made",
                "~nobody-here/z: failed: nobody-here is not in the machine's /etc/passwd",
            ]
        );
        assert_eq!(code, 3);
        for (path, expected) in [
            ("/home", "0:0 0755".to_owned()),
            ("/home/ann", format!("{id}:{id} 0700")),
            ("/home/ann/Documents", format!("{id}:{id} 0755")),
            ("/home/ann/.ssh", format!("{id}:{id} 0700")),
            ("/home/ann/.config", format!("{id}:{id} 0755")),
            ("/home/ann/.config/x/y", format!("{id}:{id} 0644")),
            ("/var/lib/a", format!("{id}:{id} 0750")),
            ("/var/lib/b", format!("0:{id} 0755")),
            ("/etc/f", format!("{id}:0 0644")),
        ] {
            assert_eq!(machine.ownership(path), expected, "{path}");
            if path != "/home" {
                assert_eq!(machine.ownership(&format!("/persist{path}")), expected, "{path}");
            }
        }
        assert_eq!(machine.ownership("/var/lib/c"), "No such file or directory (os error 2)");
    }

    fn ns_an_empty_directory_of_a_package_lends_its_owner_and_mode(machine) {
        machine.configure(&["/persist"], "[persist.\"/persist\"]\ndirectories = [\"/var/lib/x\"]");
        machine.directory("/var/lib/x", 0o2751);
        assert_eq!(machine.mount(&[]), (0, vec!["/var/lib/x: done".to_owned()]));
        assert_eq!(machine.ownership("/persist/var/lib/x"), "0:0 2751");
        assert!(machine.is_same("/var/lib/x", "/persist/var/lib/x"));
    }

    fn ns_any_name_works(machine) {
        machine.configure(&["/persist of: me"], r#"
            [persist."/persist of: me"]
            hide-mounts = true
            directories = ["/a b:c\nd", "/tab\t\\back"]
            files = [{ path = "/with \"quotes\"", method = "symlink" }]
            users.raw.directories = ["Docs é\u0001"]
        "#);
        let home = OsStr::from_bytes(b"/home/r\xff w");
        let mut passwd = b"raw:x:0:0::".to_vec();
        passwd.extend_from_slice(home.as_bytes());
        passwd.extend_from_slice(b":/bin/sh\n");
        fs::create_dir(machine.at("/etc")).unwrap();
        fs::write(machine.at("/etc/passwd"), passwd).unwrap();
        for round in ["done", "in-place"] {
            let (code, told) = machine.mount(&[]);
            let expected = [
                "/a b:c\nd".to_owned(),
                String::new(), // in JSON a path that is no text is the array of its bytes
                "/tab\t\\back".to_owned(),
                "/with \"quotes\"".to_owned(),
            ];
            assert_eq!(told, expected.map(|path| format!("{path}: {round}")));
            assert_eq!(code, 0);
        }
        let docs = Path::new(home).join("Docs é\u{1}");
        let stored = Path::new("/persist of: me").join(docs.strip_prefix("/").unwrap());
        assert!(machine.is_same(&docs, stored));
        assert!(machine.is_same("/a b:c\nd", "/persist of: me/a b:c\nd"));
        let said = machine.state(["mount", "--dry-run", "-v"]);
        let expected = "\
/a b:c\\nd: in place
/etc/state/state.toml: left out: it is not in the store yet
/home/r\\xff w/Docs é\\u{1}: in place
/tab\\t\\\\back: in place
/with \"quotes\": in place
4 in place already
";
        assert_eq!((said.out.as_str(), said.err.as_str()), (expected, ""));
    }

    fn ns_a_dry_run_changes_nothing_and_says_what_would_be_done(machine) {
        machine.configure(&["/persist", "/cache"], r#"
            [persist."/persist"]
            directories = ["/home/ann"]
            [persist."/cache"]
            directories = ["/home/ann/.cache"]
        "#);
        machine.directory("/persist/home/ann", 0o700);
        let before = machine.everything();
        let said = machine.state(["mount", "--dry-run"]);
        let expected = "\
/etc/state/state.toml: left out: it is not in the store yet
/home/ann:
  make directory /home (0:0 0755)
  make directory /home/ann (0:0 0700)
  mount /persist/home/ann at /home/ann
/home/ann/.cache:
  make directory /cache/home (0:0 0755)
  make directory /cache/home/ann (0:0 0700)
  make directory /cache/home/ann/.cache (0:0 0755)
  make directory /home/ann/.cache (0:0 0755)
  mount /cache/home/ann/.cache at /home/ann/.cache
2 to put in place
";
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, expected, ""));
        assert_eq!(machine.everything(), before);

        // One store's entry may continue inside another's.
        assert_eq!(machine.mount(&[]).0, 0);
        assert!(machine.is_same("/home/ann/.cache", "/cache/home/ann/.cache"));
        assert!(!machine.is_same("/home/ann/.cache", "/persist/home/ann/.cache"));
        assert_eq!(machine.mount(&[]).1, ["/home/ann: in-place", "/home/ann/.cache: in-place"]);
    }

    fn ns_the_initrd_puts_only_early_entries_in_place(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/var/lib/nixos", "/var/log", { path = "/keys", early = true }]
            files = [
                { path = "/etc/ssh/ssh_host_ed25519_key", if-missing = "skip" },
                { path = "/etc/passwd", early = false },
            ]
        "#);
        machine.write("/persist/etc/state/state.toml", "# the master copy");
        let (code, told) = machine.mount(&["--early"]);
        let skipped = "/etc/ssh/ssh_host_ed25519_key: left-out: it is not in the store yet";
        assert_eq!(told, [skipped, "/keys: done", "/var/lib/nixos: done"]);
        assert_eq!(code, 0);
        assert!(!machine.at("/etc/ssh").exists(), "no dangling link, no empty key");
        let link = fs::read_link(machine.at("/etc/state/state.toml")).unwrap();
        assert_eq!(link, Path::new("/persist/etc/state/state.toml"));
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            ["/etc/passwd: done", skipped, "/keys: in-place", "/var/lib/nixos: in-place", "/var/log: done"]
        );
        assert_eq!(code, 0);
    }

    // Row 26: thousands of shell calls made activation slow. The figure is for the reader.
    fn ns_three_hundred_entries_are_one_short_run(machine) {
        let entries: Vec<_> = (0..300).map(|n| format!("\"/var/lib/service {n}/state\"")).collect();
        let text = format!("[persist.\"/persist\"]\ndirectories = [{}]", entries.join(", "));
        machine.configure(&["/persist"], &text);
        for (what, round) in [("first", "done"), ("second", "in-place")] {
            let begun = std::time::Instant::now();
            let (code, told) = machine.mount(&[]);
            let took = begun.elapsed();
            writeln!(std::io::stdout(), "{what} run over 300 entries: {took:?}").unwrap();
            assert_eq!(code, 0);
            assert_eq!(told.iter().filter(|told| told.ends_with(round)).count(), 300);
        }
        assert_eq!(machine.mounts(), 302);
    }

    fn ns_what_an_interrupted_run_left_is_replaced(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/var/lib/x"]
            files = [{ path = "/var/lib/y", method = "symlink" }]
        "#);
        machine.directory("/var/lib/.state-new", 0o700);
        machine.write("/persist/var/lib/.state-new", "");
        let (code, _) = machine.mount(&[]);
        assert_eq!(code, 0);
        assert!(machine.is_same("/var/lib/x", "/persist/var/lib/x"));
        let left = machine.everything().iter().any(|path| path.contains(".state-"));
        assert!(!left, "{:?}", machine.everything());
    }

    // The power failed while the restored tree was being moved in, child by child.
    fn ns_a_restore_cut_in_the_middle_is_finished_before_anything_is_mounted(machine) {
        machine.configure(&["/persist"], "[persist.\"/persist\"]\ndirectories = [\"/srv/data\", \"/var/lib/x\"]");
        machine.write("/persist/.state/journal", "children 1 staged in\n");
        machine.write("/persist/.state/outgoing/srv/data/file", "old");
        machine.write("/persist/.state/staged/var/lib/x/file", "new");
        machine.write("/persist/srv/data/file", "new");
        let (code, told) = machine.mount(&[]);
        assert_eq!(told, ["/srv/data: done", "/var/lib/x: done"]);
        assert_eq!(code, 0);
        assert_eq!(machine.read("/srv/data/file"), "new");
        assert_eq!(machine.read("/var/lib/x/file"), "new");
        assert_eq!(machine.read("/persist/.state/replaced/srv/data/file"), "old");
    }
}
