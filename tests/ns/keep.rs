//! `state keep` and `state drop`: what is at a path is never in danger, whatever goes wrong.

use crate::harness::{Machine, ns};
use state::inventory;
use state_api::{Never, View};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const STORE: &str = "# mine\n[persist.\"/persist\"]\ndirectories = [\n  \"/var/log\", # logs\n]\n";

/// How often it is killed, each time a little later.
const RUNS: u32 = 40;

fn config(machine: &Machine) -> String {
    fs::read_to_string(machine.config()).unwrap()
}

/// Everything about what is below a path, without what is only storage.
fn noted(machine: &Machine, path: &str) -> inventory::Inventory {
    let dir = fs::File::open(machine.at(path)).unwrap();
    inventory::take(&View::live(dir.into()), &|_| false, &Never).unwrap()
}

/// A directory with what copies lose first.
fn delicate(machine: &Machine, path: &str) {
    machine.directory(path, 0o750);
    machine.write(&format!("{path}/a"), "content");
    fs::hard_link(
        machine.at(format!("{path}/a")),
        machine.at(format!("{path}/b")),
    )
    .unwrap();
    symlink("a", machine.at(format!("{path}/link"))).unwrap();
    machine.directory(&format!("{path}/sub"), 0o1777);
    machine.write(&format!("{path}/sub/new\nline"), "x");
    let holes = fs::File::create(machine.at(format!("{path}/holes"))).unwrap();
    holes.set_len(1 << 20).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_789);
    holes.set_modified(old).unwrap();
    fs::set_permissions(
        machine.at(format!("{path}/a")),
        fs::Permissions::from_mode(0o4711),
    )
    .unwrap();
}

/// Whether anything unfinished of ours lies in the root or the store.
fn unfinished(machine: &Machine) -> Vec<String> {
    let all = machine.everything();
    all.into_iter()
        .filter(|line| line.contains(".state-"))
        .collect()
}

ns! {
    // Row 13: adding an entry on a live system is the most common failure.
    fn ns_keep_moves_a_directory_into_the_store_with_all_that_belongs_to_it(machine) {
        machine.configure(&["/persist"], STORE);
        machine.directory("/srv", 0o711);
        delicate(&machine, "/srv/data");
        let before = (machine.everything(), config(&machine), noted(&machine, "/srv/data"));
        let dry = machine.state(["keep", "--dry-run", "/srv/data"]);
        let file = machine.config();
        let expected = format!(
            "/srv/data:\n  make directory /persist/srv (0:0 0711)\n  copy /srv/data to /persist/srv/data\n  \
             add /srv/data to {}\n  mount /persist/srv/data at /srv/data\n",
            file.display()
        );
        assert_eq!((dry.code, dry.out), (0, expected), "{}", dry.err);
        assert_eq!((machine.everything(), config(&machine)), (before.0, before.1));

        let said = machine.state(["keep", "/srv/data"]);
        assert_eq!(said.out, "/srv/data is kept in /persist/srv/data (7 things, 1.0 MiB)\n", "{}", said.err);
        assert!(machine.is_same("/srv/data", "/persist/srv/data"));
        assert_eq!(noted(&machine, "/persist/srv/data").differences(&before.2), [""; 0]);
        assert_eq!(machine.ownership("/persist/srv"), "0:0 0711");
        assert_eq!(
            config(&machine),
            "# mine\n[persist.\"/persist\"]\ndirectories = [\n  \"/var/log\", # logs\n  \"/srv/data\",\n]\n"
        );
        assert_eq!(unfinished(&machine), [""; 0]);
        assert_eq!(machine.state(["keep", "/srv/data"]).out, "/srv/data is kept already\n");
        let inside = machine.state(["keep", "/srv/data/sub"]);
        assert_eq!(inside.out, "/srv/data/sub is kept already\nnote: /srv/data is kept, and it lies inside\n");
        // What was there is below the mount still.
        rustix::mount::unmount(machine.at("/srv/data"), rustix::mount::UnmountFlags::empty()).unwrap();
        assert_eq!(noted(&machine, "/srv/data").differences(&before.2), [""; 0]);
        assert_eq!(machine.mount(&[]).1, ["/srv/data: done", "/var/log: done"]);
    }

    fn ns_keep_knows_which_files_are_replaced_by_their_programs(machine) {
        machine.configure(&["/persist"], STORE);
        machine.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        machine.write("/etc/conf", "x");
        machine.write("/etc/linked", "y");
        let said = machine.state(["keep", "/etc/passwd", "/etc/conf"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(machine.state(["keep", "--method", "symlink", "/etc/linked"]).code, 0);
        let files = "files = [{ path = \"/etc/passwd\", method = \"copy\" }, \"/etc/conf\", \
                     { path = \"/etc/linked\", method = \"symlink\" }]\n";
        assert!(config(&machine).ends_with(files), "{}", config(&machine));
        assert!(!machine.is_same("/etc/passwd", "/persist/etc/passwd"));
        assert!(machine.is_same("/etc/conf", "/persist/etc/conf"));
        assert_eq!(fs::read_link(machine.at("/etc/linked")).unwrap(), Path::new("/persist/etc/linked"));
        assert_eq!(machine.mount(&[]).0, 0);
    }

    fn ns_keep_names_who_is_writing_and_changes_nothing(machine) {
        machine.configure(&["/persist"], STORE);
        machine.write("/srv/data/log", "x");
        let log = fs::File::create(machine.at("/srv/data/log")).unwrap();
        let before = machine.everything();
        let me = std::process::id();
        for path in ["/srv/data", "/srv/data/log"] {
            let said = machine.state(["keep", path]);
            let fact = format!("(process {me}) is writing to it\nhint: stop them, keep it, and start them again\n");
            assert!(said.err.ends_with(&fact), "{said:?}");
            assert_eq!(said.code, 4);
        }
        fs::remove_dir_all(machine.at("/run")).unwrap(); // the lock
        assert_eq!(machine.everything(), before);
        drop(log);
        // A reader is only told.
        let reader = fs::File::open(machine.at("/srv/data/log")).unwrap();
        let said = machine.state(["keep", "/srv/data"]);
        assert!(said.out.contains(&format!("(process {me}) is using the old one until started again")), "{said:?}");
        drop(reader);
    }

    fn ns_keep_on_a_full_store_leaves_everything_as_it_was(machine) {
        machine.configure(&[], STORE);
        machine.mount_small_tmpfs("/persist", 256 << 10);
        delicate(&machine, "/srv/data");
        machine.write("/srv/data/big", &"x".repeat(400_000));
        let before = (noted(&machine, "/srv/data"), config(&machine));
        let said = machine.state(["keep", "/srv/data"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("no space left on device"), "{said:?}");
        assert_eq!(noted(&machine, "/srv/data").differences(&before.0), [""; 0]);
        assert_eq!(config(&machine), before.1);
        assert_eq!(unfinished(&machine), [""; 0]);
        assert!(!machine.at("/persist/srv/data").exists());
        // With room it is completed.
        fs::write(machine.at("/srv/data/big"), "small").unwrap();
        assert_eq!(machine.state(["keep", "/srv/data"]).code, 0);
        assert!(machine.is_same("/srv/data", "/persist/srv/data"));
    }

    // Killed at any moment: what is at the path is what it was, and a second run does the rest.
    fn ns_keep_killed_at_any_moment_loses_nothing_and_is_completed(machine) {
        machine.configure(&["/persist"], STORE);
        let mut outcomes = std::collections::BTreeSet::new();
        delicate(&machine, "/srv/whole");
        let begun = Instant::now();
        assert_eq!(machine.state(["keep", "/srv/whole"]).code, 0);
        let whole = begun.elapsed();
        // Later and later, until one is over before it is killed: on a busy machine that takes longer
        // than it took now.
        let mut is_over = false;
        for n in 0..20 * RUNS {
            if is_over {
                break;
            }
            let path = format!("/srv/d{n}");
            delicate(&machine, &path);
            let before = noted(&machine, &path);
            let mut command = machine.command(["keep", &path]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(whole * n / RUNS);
            is_over = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(noted(&machine, &path).differences(&before), [""; 0], "{path}");
            let is_stored = machine.at(format!("/persist{path}")).exists();
            let is_declared = config(&machine).contains(&format!("\"{path}\""));
            let is_in_place = machine.is_same(&path, format!("/persist{path}"));
            assert!(is_stored || !is_declared, "declared before it is stored");
            outcomes.insert((is_stored, is_declared, is_in_place));
            let said = machine.state(["keep", &path]);
            assert_eq!(said.code, 0, "{said:?}");
            assert!(machine.is_same(&path, format!("/persist{path}")));
            assert_eq!(noted(&machine, &path).differences(&before), [""; 0]);
        }
        assert!(outcomes.len() > 1, "it was never killed in the midst: {outcomes:?}");
        assert_eq!(unfinished(&machine), [""; 0]);
        assert_eq!(machine.mount(&[]).0, 0);
    }

    fn ns_keep_puts_an_orphan_in_its_way_into_quarantine(machine) {
        machine.configure(&["/persist"], STORE);
        machine.write("/persist/srv/data/f", "of an earlier life");
        machine.write("/srv/data/f", "now");
        let said = machine.state(["keep", "/srv/data"]);
        assert!(said.out.contains("note: what the store held there is in its quarantine"), "{said:?}");
        assert_eq!(machine.read("/persist/srv/data/f"), "now");
        assert_eq!(machine.quarantined("/srv/data/f"), ["of an earlier life"]);
    }

    fn ns_keep_refuses_what_it_would_lose_or_hide(machine) {
        machine.configure(&["/persist", "/other"], "[persist.\"/persist\"]\ndirectories = [\"/var/lib/a\"]\n[persist.\"/other\"]\nclass = \"local\"\n");
        machine.mount_tmpfs("/mnt");
        machine.mount_tmpfs("/srv/data/mounted");
        machine.write("/var/lib/b", "x");
        machine.write("/persist/stored", "x");
        machine.directory("/elsewhere", 0o755);
        symlink("/var/lib", machine.at("/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD, machine.at("/fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0,
        ).unwrap();
        assert_eq!(machine.mount(&[]).0, 0);
        let before = (machine.everything(), config(&machine));
        for (arguments, code, expected) in [
            (&["/none"][..], 1, "keeping /none: /none does not exist"),
            (&["/link"], 4, "keeping /link: it is a symlink to /var/lib"),
            (&["/link/b"], 4, "keeping /link/b: /link is a symlink"),
            (&["/fifo"], 4, "keeping /fifo: it is neither a file nor a directory"),
            (&["/mnt"], 4, "keeping /mnt: it lies on another filesystem than root, which no reset touches"),
            (&["/srv/data"], 4, "keeping /srv/data: /srv/data/mounted is a filesystem or volume of its own"),
            (&["/persist/stored"], 2, "keeping /persist/stored: it lies in a store, which no reset touches"),
            (&["/var/lib"], 4, "keeping /var/lib: /var/lib/a lies inside it and is kept by itself"),
            (&["--store", "/nowhere", "/var/lib/b"], 2, "keeping /var/lib/b: /nowhere is not a store"),
            (&["--method", "copy", "/elsewhere"], 2, "keeping /elsewhere: a directory is kept by a mount"),
        ] {
            let said = machine.state(["keep"].iter().chain(arguments));
            assert_eq!(said.err.lines().next(), Some(format!("error: {expected}").as_str()), "{said:?}");
            assert_eq!(said.code, code, "{said:?}");
        }
        assert_eq!((machine.everything(), config(&machine)), before);
        // One that fails stops no other.
        let said = machine.state(["keep", "/none", "/var/lib/b"]);
        assert_eq!((said.code, said.out.as_str()), (3, "/var/lib/b is kept in /persist/var/lib/b (1 B)\n"));
        let said = machine.state(["keep", "--json", "/none", "/var/lib/b"]);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(json["paths"][0]["error"], "keeping /none: /none does not exist");
        assert_eq!(json["paths"][1]["was_kept"], true);
    }

    fn ns_keep_beside_a_configuration_that_cannot_be_written(machine) {
        machine.configure(&["/persist"], STORE);
        machine.write("/srv/data/f", "x");
        // As on NixOS, where it is a link into the store of packages.
        machine.write("/nix/store/abc-state.toml", STORE);
        machine.use_config("/nix/store/abc-state.toml");
        let said = machine.state(["keep", "/srv/data"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.ends_with(
            "note: move it into the Nix configuration when it suits you: \
             services.state.persistence.\"/persist\".directories = [ \"/srv/data\" ];\n"
        ), "{said:?}");
        let kept = "[persist.\"/persist\"]\ndirectories = [\"/srv/data\"]\n";
        assert_eq!(machine.read("/persist/etc/state/state.d/kept.toml"), kept);
        assert_eq!(machine.mount(&[]).1, ["/srv/data: in-place", "/var/log: done"]);
        let said = machine.state(["drop", "/var/log"]);
        assert_eq!(said.err.lines().next(), Some("error: dropping /var/log: it is declared in /nix/store/abc-state.toml, which cannot be written"));
        assert_eq!(machine.state(["drop", "/srv/data"]).code, 0);
        assert_eq!(machine.read("/persist/etc/state/state.d/kept.toml"), "[persist.\"/persist\"]\ndirectories = []\n");
    }

    // Row 14: unmounting what is in use kills what uses it.
    fn ns_drop_unmounts_only_when_asked_and_never_what_is_busy(machine) {
        machine.configure(&["/persist"], "[persist.\"/persist\"]\ndirectories = [\n  \"/a\", # first\n  \"/b\",\n  \"/c\",\n]\n");
        for path in ["/a", "/b", "/c"] {
            machine.write(&format!("/persist{path}/f"), "kept");
        }
        assert_eq!(machine.mount(&[]).0, 0);
        let said = machine.state(["drop", "/a"]);
        assert_eq!(said.out, "/a is declared no longer; it stays in place until the next boot; /persist/a stays\n");
        assert!(machine.is_same("/a", "/persist/a"));
        assert_eq!(config(&machine), "[persist.\"/persist\"]\ndirectories = [\n  \"/b\",\n  \"/c\",\n]\n");

        let said = machine.state(["drop", "--now", "/b"]);
        assert_eq!(said.out, "/b is declared no longer; it is out of place; /persist/b stays\n");
        assert!(!machine.at("/b/f").exists());

        let user = fs::File::open(machine.at("/c/f")).unwrap();
        let said = machine.state(["drop", "--now", "/c"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains("note: it is in use by "), "{said:?}");
        assert!(machine.is_same("/c", "/persist/c"));
        drop(user);
        for path in ["/a", "/b", "/c"] {
            assert_eq!(machine.read(&format!("/persist{path}/f")), "kept");
        }
        assert_eq!(machine.mount(&[]), (0, vec![]));
        for (path, expected) in [
            ("/c", "error: dropping /c: no entry is declared there"),
            ("/etc/state/state.toml", "error: dropping /etc/state/state.toml: no file of the configuration declares it"),
        ] {
            let said = machine.state(["drop", path]);
            assert_eq!((said.code, said.err.lines().next()), (4, Some(expected)), "{said:?}");
        }
    }

    fn ns_drop_of_a_part_names_the_whole(machine) {
        machine.configure(&["/persist"], STORE);
        let said = machine.state(["drop", "/var/log/journal"]);
        let expected = "error: dropping /var/log/journal: it is kept as a part of /var/log\nhint: drop /var/log, or leave it\n";
        assert_eq!((said.code, said.err.as_str()), (4, expected));
    }

    fn ns_what_was_dropped_and_kept_again_is_whole(machine) {
        machine.configure(&["/persist"], STORE);
        machine.write("/srv/data/f", "x");
        assert_eq!(machine.state(["keep", "/srv/data"]).code, 0);
        machine.write("/srv/data/g", "y");
        assert_eq!(machine.state(["drop", "--now", "/srv/data"]).code, 0);
        assert!(!machine.at("/srv/data/g").exists(), "what was below the mount shows again");
        assert_eq!(machine.state(["keep", "/srv/data"]).code, 0);
        assert!(!machine.at("/srv/data/g").exists());
        assert_eq!(machine.quarantined("/srv/data/g"), ["y"]);
    }
}
