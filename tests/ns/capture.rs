//! What the next boot would lose of a root in memory is captured, and comes back.

use crate::harness::{Machine, ns};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

const TEXT: &str = r#"
    [root]
    backend = "tmpfs"
    past-roots = { last = 2, days = 0 }
    capture = { max-bytes = "64 KiB" }
    [persist."/cache"]
    class = "cache"
    directories = ["/var/cache/app"]
    [persist."/persist"]
    directories = ["/srv/kept"]
    files = ["/etc/machine-id"]
    [diff]
    ignore = ["/var/tmp/**"]
"#;

/// The captured roots, as they lie in the store.
fn captured(machine: &Machine) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(machine.at("/persist/.state/past-roots")) else {
        return Vec::new();
    };
    let mut found: Vec<_> = found.map(|one| one.unwrap().path()).collect();
    found.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    found.sort();
    found
}

fn configure(machine: &Machine) {
    machine.configure(&["/persist", "/cache"], TEXT);
    machine.write(
        "/persist/etc/machine-id",
        "0123456789abcdef0123456789abcdef",
    );
    assert_eq!(machine.mount(&[]).0, 0);
}

ns! {
    fn ns_what_a_root_in_memory_would_lose_becomes_a_past_root(machine) {
        configure(&machine);
        let said = machine.state(["roots", "capture"]);
        assert_eq!(said.out, "nothing would be lost, and nothing was captured\n");
        assert_eq!((said.code, captured(&machine).len()), (0, 0));

        machine.write("/srv/kept/file", "in the store");
        machine.write("/var/tmp/x", "ignored");
        machine.write("/etc/two\nlines", "1234");
        machine.write("/opt/app/a/b", "deep");
        machine.write("/opt/app/big", &"x".repeat(80 << 10));
        machine.directory("/opt/app/empty", 0o700);
        symlink("a/b", machine.at("/opt/app/link")).unwrap();
        fs::hard_link(machine.at("/opt/app/a/b"), machine.at("/opt/app/c")).unwrap();
        let dry = machine.state(["roots", "capture", "--dry-run"]);
        assert!(dry.out.starts_with("7 entries, 12 B would become a past root\nleft out: /opt/app/big: "), "{dry:?}");
        assert_eq!(captured(&machine).len(), 0);

        let said = machine.state(["roots", "capture"]);
        assert!(said.out.contains(": 7 entries, 8 B; "), "{said:?}");
        assert!(said.out.contains("left out: /opt/app/big: its 81920 bytes are more"), "{said:?}");
        let all = captured(&machine);
        assert_eq!(all.len(), 1);
        let file = fs::metadata(all[0].join("root.tar.zst")).unwrap();
        assert_eq!(file.permissions().mode() & 0o7777, 0o600);

        // The next boot begins with nothing.
        fs::remove_dir_all(machine.at("/opt/app")).unwrap();
        fs::remove_file(machine.at("/etc/two\nlines")).unwrap();
        let said = machine.state(["roots", "diff", "-0"]);
        assert_eq!(
            said.out.split_terminator('\0').collect::<Vec<_>>(),
            ["/etc/two\nlines", "/opt/app", "/opt/app/a", "/opt/app/a/b", "/opt/app/c", "/opt/app/empty", "/opt/app/link"],
            "{said:?}"
        );
        let said = machine.state(["roots", "recover", "/opt/app"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(machine.read("/opt/app/link"), "deep");
        assert_eq!(machine.ownership("/opt/app/empty"), "0:0 0700");
        let inode = |path| fs::metadata(machine.at(path)).unwrap().ino();
        assert_eq!(inode("/opt/app/a/b"), inode("/opt/app/c"));
        let said = machine.state(["roots", "recover", "/opt/app/big"]);
        assert_eq!(said.err, "error: recovering /opt/app/big: no past root holds /opt/app/big\n\
             hint: `state roots list` names the past roots, `state roots diff NAME` tells what was in one and not in blank\n");
        let said = machine.state(["roots", "recover", "/etc/two\nlines", "--to", "/srv/kept/back"]);
        assert_eq!((said.code, machine.read("/srv/kept/back").as_str()), (0, "1234"));
    }

    fn ns_captured_roots_are_kept_as_long_as_the_rules_say(machine) {
        configure(&machine);
        for n in 0..4 {
            machine.write("/etc/file", &n.to_string());
            assert_eq!(machine.state(["roots", "capture"]).code, 0);
        }
        let all = captured(&machine);
        assert_eq!(all.len(), 4, "{all:?}");
        let name = |n: usize| all[n].file_name().unwrap().to_str().unwrap();
        assert_eq!(machine.state(["roots", "pin", name(0)]).code, 0);
        let listed = machine.state(["roots", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
        let sequence: Vec<_> = listed["past_roots"].as_array().unwrap().iter().map(|one| &one["sequence"]).collect();
        assert_eq!(sequence, [1, 2, 3, 4]);

        // A run that was killed, or the power failed: nothing of it is listed, and the next one tidies up.
        let scratch = machine.at("/persist/.state/past-roots/.scratch");
        fs::create_dir_all(scratch.join("building")).unwrap();
        fs::write(scratch.join("building/root.tar.zst"), "half").unwrap();
        assert_eq!(machine.state(["roots", "list"]).out.lines().count(), 5);
        let said = machine.state(["roots", "gc"]);
        assert_eq!(said.code, 0, "{said:?}");
        let left: Vec<_> = captured(&machine);
        assert_eq!(left, [&all[0], &all[2], &all[3]].map(Clone::clone));
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);

        fs::create_dir_all(scratch.join("building")).unwrap();
        assert_eq!(machine.state(["roots", "capture"]).code, 0);
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    }

    fn ns_nothing_is_captured_where_it_would_be_lost_or_is_damaged_unseen(machine) {
        machine.configure(&["/cache"], TEXT);
        machine.write("/etc/file", "x");
        fs::create_dir_all(machine.at("/persist")).unwrap();
        let said = machine.state(["roots", "capture"]);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.starts_with("error: the store /persist is not mounted\n"), "{said:?}");

        machine.mount_tmpfs("/persist");
        assert_eq!(machine.state(["roots", "capture"]).code, 0);
        let file = captured(&machine)[0].join("root.tar.zst");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
        fs::remove_file(machine.at("/etc/file")).unwrap();
        let said = machine.state(["roots", "recover", "/etc/file"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(!machine.at("/etc/file").exists());
    }

    fn ns_time_and_disk_are_bounded(machine) {
        machine.mount_small_tmpfs("/persist", 256 << 10);
        machine.mount_tmpfs("/cache");
        machine.configure(&[], &TEXT.replace("64 KiB", "8 MiB"));
        machine.write("/persist/etc/machine-id", "");
        machine.write("/etc/small", "small");
        let mut noise = vec![0; 1 << 20];
        rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty()).unwrap();
        fs::create_dir_all(machine.at("/opt")).unwrap();
        fs::write(machine.at("/opt/noise"), noise).unwrap();
        // The archive with all of it does not fit; the one before it stays.
        let said = machine.state(["roots", "capture"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains(": 1 entry, 5 B; ") && said.out.contains("left out: /opt/noise: "), "{said:?}");
        fs::remove_file(machine.at("/etc/small")).unwrap();
        let said = machine.state(["roots", "recover", "/etc/small"]);
        assert_eq!((said.code, machine.read("/etc/small").as_str()), (0, "small"), "{said:?}");
    }
}
