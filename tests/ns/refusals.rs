//! What is never hidden, replaced or followed; and that one refusal stops no other entry.

use crate::harness::ns;
use state_linux::mount;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const ONE: &str = "[persist.\"/persist\"]\ndirectories = [\"/srv/data\", \"/srv/other\"]";

ns! {
    // Row 13: adding an entry on a live system hid directories without a word.
    fn ns_data_that_exists_nowhere_else_is_never_hidden(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/srv/data/a/only here", "x");
        machine.write("/srv/data/b", "x");
        machine.write("/persist/srv/data/b", "y");
        let said = machine.state(["mount"]);
        assert_eq!(said.code, 3);
        assert_eq!(
            said.err,
            "error: putting /srv/data in place: it holds 3 things that exist nowhere else, \
             /srv/data/a first\n\
             hint: merge it into the store with `cp -anT /srv/data /persist/srv/data`, then run \
             `state mount`: what it still names is not the same in both, and one of them must go\n"
        );
        assert_eq!(machine.read("/srv/data/a/only here"), "x");
        assert_eq!(machine.read("/persist/srv/data/b"), "y");
        assert!(machine.is_same("/srv/other", "/persist/srv/other"));

        // The same once the store holds all of it, and more.
        machine.write("/persist/srv/data/a/only here", "x");
        machine.write("/persist/srv/data/b", "x");
        machine.write("/persist/srv/data/c", "x");
        let (code, told) = machine.mount(&[]);
        assert_eq!(told, ["/srv/data: done", "/srv/other: in-place"]);
        assert_eq!(code, 0);
        assert_eq!(machine.read("/srv/data/c"), "x");
    }

    fn ns_a_mode_that_exists_nowhere_else_is_not_hidden_either(machine) {
        machine.configure(&["/persist"], ONE);
        machine.directory("/srv/data/secret", 0o700);
        machine.directory("/persist/srv/data/secret", 0o755);
        let (code, told) = machine.mount(&[]);
        let refused = "/srv/data: failed: it holds 1 thing that exists nowhere else, \
                       /srv/data/secret first";
        assert_eq!(told, [refused, "/srv/other: done"]);
        assert_eq!(code, 3);
    }

    fn ns_a_file_with_content_of_its_own_is_not_hidden(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            files = ["/etc/a", "/etc/b", "/etc/c", { path = "/etc/d", if-missing = "skip" }]
        "#);
        for (path, content) in [
            ("/etc/a", "mine"), ("/persist/etc/a", "theirs"),
            ("/etc/b", "same"), ("/persist/etc/b", "same"),
            ("/etc/c", "mine"), ("/etc/d", "mine"),
        ] {
            machine.write(path, content);
        }
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/etc/a: failed: its content exists nowhere else",
                "/etc/b: done",
                "/etc/c: failed: its content exists nowhere else",
                "/etc/d: failed: its content exists nowhere else",
            ]
        );
        assert_eq!(code, 3);
        assert_eq!(machine.read("/etc/a"), "mine");
        assert!(machine.is_same("/etc/b", "/persist/etc/b"));
        assert!(!machine.at("/persist/etc/c").exists());
    }

    fn ns_things_of_the_wrong_kind_are_named(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/a", "/b", "/c", "/d/e", "/f/g", "/h", "/i", "/j/k", "/ok"]
            files = ["/l", { path = "/m", method = "symlink" }]
        "#);
        symlink("/elsewhere", machine.at("/a")).unwrap();
        machine.write("/b", "");
        machine.write("/persist/c", "");
        machine.directory("/elsewhere", 0o755);
        symlink("/elsewhere", machine.at("/d")).unwrap();
        machine.write("/f", "");
        rustix::fs::mknodat(
            rustix::fs::CWD, machine.at("/h"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0,
        ).unwrap();
        symlink("/etc", machine.at("/persist/i")).unwrap();
        symlink("/etc", machine.at("/persist/j")).unwrap();
        machine.directory("/l", 0o755);
        symlink("/elsewhere", machine.at("/m")).unwrap();
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/a: failed: it is a symlink to /elsewhere where a directory is declared",
                "/b: failed: it is a file where a directory is declared",
                "/c: failed: /persist/c is a file where a directory is declared",
                "/d/e: failed: /d is a symlink, not a directory",
                "/f/g: failed: /f is a file, not a directory",
                "/h: failed: it is a fifo where a directory is declared",
                "/i: failed: /persist/i is a symlink where a directory is declared",
                "/j/k: failed: /persist/j is a symlink, not a directory",
                "/l: failed: it is a directory where a file is declared",
                "/m: failed: it is a symlink to /elsewhere where a link to /persist/m is declared",
                "/ok: done",
            ]
        );
        assert_eq!(code, 3);
        assert!(fs::read_dir(machine.at("/elsewhere")).unwrap().next().is_none());
    }

    fn ns_nothing_outside_the_root_is_reached(machine) {
        let outside = tempfile::tempdir().unwrap();
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/escape/x"]
            files = [{ path = "/escape/y", method = "symlink" }]
        "#);
        symlink(outside.path(), machine.at("/escape")).unwrap();
        let (code, told) = machine.mount(&[]);
        let refused = |path| format!("{path}: failed: /escape is a symlink, not a directory");
        assert_eq!(told, [refused("/escape/x"), refused("/escape/y")]);
        assert_eq!(code, 1);
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    }

    // Row 14: what is mounted or busy is never taken away.
    fn ns_what_is_mounted_there_stays(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/srv/data", "/srv/held", { path = "/srv/link", method = "symlink" }]
        "#);
        machine.mount_tmpfs("/srv/data");
        machine.mount_tmpfs("/srv/held/below");
        machine.mount_tmpfs("/srv/link");
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/srv/data: failed: something else is mounted there",
                "/srv/held: failed: it holds 1 thing that exists nowhere else, /srv/held/below first",
                "/srv/link: failed: something else is mounted there",
            ]
        );
        assert_eq!(code, 1);
    }

    // Row 15: a store that is not mounted makes a machine that boots empty and looks fine.
    fn ns_a_store_that_is_not_mounted_is_a_failure_and_nothing_is_made(machine) {
        let text = "[root]\nbackend = \"tmpfs\"\n[persist.\"/persist\"]\ndirectories = [\"/srv\"]";
        machine.configure(&[], text);
        machine.directory("/persist/srv", 0o755);
        let before = machine.everything();
        let failed = |why: &str| {
            format!("/srv: failed: the store /persist cannot be used: {why}")
        };
        let unmounted = "it is not mounted: it is a directory of the root that is erased";
        assert_eq!(machine.mount(&["--dry-run"]), (1, vec![failed(unmounted)]));
        fs::rename(machine.at("/persist"), machine.at("/p")).unwrap();
        assert_eq!(machine.mount(&["--dry-run"]), (1, vec![failed("it does not exist")]));
        fs::rename(machine.at("/p"), machine.at("/persist")).unwrap();
        assert_eq!(machine.mount(&[]).0, 1);
        fs::remove_dir_all(machine.at("/run")).unwrap(); // the lock
        assert_eq!(machine.everything(), before);

        machine.mount_tmpfs("/persist");
        assert_eq!(machine.mount(&[]), (0, vec!["/srv: done".to_owned()]));
    }

    fn ns_an_entry_inside_one_that_failed_is_not_put_in_place(machine) {
        machine.configure(&["/persist", "/cache"], r#"
            [persist."/persist"]
            directories = ["/home/ann"]
            [persist."/cache"]
            directories = ["/home/ann/.cache"]
        "#);
        machine.write("/home/ann/only here", "x");
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/home/ann: failed: it holds 1 thing that exists nowhere else, /home/ann/only here first",
                "/home/ann/.cache: failed: /home/ann, which it lies in, is not in place",
            ]
        );
        assert_eq!(code, 1);
        assert!(!machine.at("/home/ann/.cache").exists());
    }

    fn ns_a_contradiction_is_a_configuration_error_and_nothing_is_done(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/a", "/a/b", "/persist/x"]
        "#);
        let before = machine.everything();
        let said = machine.state(["mount"]);
        assert_eq!(said.code, 2, "{said:?}");
        assert_eq!(machine.everything(), before);
    }

    fn ns_a_read_only_root_fails_by_name(machine) {
        machine.configure(&["/persist"], ONE);
        machine.directory("/run", 0o755);
        machine.mount_tmpfs("/run");
        machine.directory("/srv/other", 0o755);
        let remount = fs::File::open(machine.root()).unwrap();
        let read_only = mount::Attributes::MOUNT_ATTR_RDONLY;
        mount::set_attributes(&remount, read_only, mount::Attributes::empty(), false).unwrap();
        let (code, told) = machine.mount(&[]);
        assert_eq!(code, 3);
        let failed = "/srv/data: failed: making /srv/data: Read-only file system (os error 30)";
        assert_eq!(told, [failed, "/srv/other: done"]);
        assert!(Path::new(&machine.at("/persist/srv/data")).exists());
    }

    fn ns_a_store_that_is_not_mounted_is_told_once_and_holds_nothing_new(machine) {
        let text = "[root]\nbackend = \"tmpfs\"\n[persist.\"/persist\"]\n\
                    directories = [\"/srv/a\", \"/srv/b\", \"/srv/c\"]";
        machine.configure(&[], text);
        machine.directory("/persist", 0o755);
        machine.write("/srv/d/f", "x");
        let said = machine.state(["mount"]);
        assert_eq!(
            said.err,
            "error: putting /etc/state/state.toml and 3 more in place: the store /persist cannot be used: \
             it is not mounted: it is a directory of the root that is erased\n\
             hint: the store is mounted before its entries are put in place\n"
        );
        let said = machine.state(["keep", "/srv/d"]);
        assert_eq!(
            (said.code, said.err.as_str()),
            (
                4,
                "error: keeping /srv/d: the store /persist cannot be used: it is not mounted: it is a \
                 directory of the root that is erased\nhint: mount it first\n"
            )
        );
        assert!(!machine.at("/persist/srv").exists());
    }

    fn ns_entries_of_a_missing_user_are_named_and_stop_no_other(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = ["/srv"]
            [persist."/persist".users.bob]
            directories = ["Documents", ".ssh"]
        "#);
        let said = machine.state(["mount"]);
        assert_eq!(said.code, 3);
        assert_eq!(
            said.err,
            "error: putting ~bob/Documents and 1 more in place: bob is not in the machine's /etc/passwd\n\
             hint: make the user, or take the entries out; the next `state mount` puts them in place\n"
        );
        assert!(machine.is_same("/srv", "/persist/srv"));
    }
}
