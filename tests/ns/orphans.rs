//! `state orphans`: nothing declared is ever taken for an orphan, and nothing is gone for good
//! before somebody says so.

use crate::harness::{Machine, ns};
use std::fs;

const STORES: &str = r#"
    [persist."/cache"]
    class = "cache"
    directories = ["/home/ann/.cache"]
    [persist."/persist"]
    directories = ["/home/ann", "/var/lib/app"]
    files = ["/etc/f"]
"#;

fn orphans(machine: &Machine) -> Vec<String> {
    let said = machine.state(["orphans", "--json"]);
    let report: serde_json::Value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let told = report["orphans"].as_array().unwrap().iter().map(|orphan| {
        format!(
            "{} {} {}",
            orphan["source"].as_str().unwrap(),
            orphan["entries"],
            orphan["bytes"]
        )
    });
    told.collect()
}

fn configured(machine: &Machine) {
    machine.configure(&["/persist", "/cache"], STORES);
    machine.write("/persist/home/ann/f", "kept");
    machine.write("/persist/var/lib/app/f", "kept");
    machine.write("/persist/etc/f", "kept");
    machine.write("/persist/etc/state/state.d/x.toml", "");
    machine.write("/persist/.state/ours", "");
    machine.write("/persist/var/lib/old/f", "12345");
    machine.write("/persist/var/lib/old/sub/g", "678");
    machine.write("/persist/etc/f.bak", "bak");
    machine.directory("/persist/lost+found", 0o700);
    machine.write("/cache/home/ann/.cache/x", "kept");
    machine.write("/cache/stale", "x");
}

const FOUND: [&str; 3] = [
    "/cache/stale 1 1",
    "/persist/etc/f.bak 1 3",
    "/persist/var/lib/old 4 8",
];

ns! {
    // Row 18: what is removed from the list stays for ever, and nobody sees it.
    fn ns_orphans_are_all_that_nobody_declared_and_nothing_else(machine) {
        configured(&machine);
        assert_eq!(orphans(&machine), FOUND);
        machine.write("/persist/lost+found/#12", "found");
        assert_eq!(orphans(&machine)[2], "/persist/lost+found/#12 1 5");
        assert_eq!(machine.mount(&[]).0, 0);
        assert_eq!(machine.state(["drop", "/var/lib/app"]).code, 0);
        // Nothing of `var` is declared any more.
        assert_eq!(orphans(&machine)[3], "/persist/var 8 12");
    }

    fn ns_orphans_go_into_quarantine_and_come_back(machine) {
        configured(&machine);
        let before = machine.everything();
        let unanswered = machine.state(["orphans", "--quarantine"]);
        assert_eq!(unanswered.code, 4, "{unanswered:?}");
        assert!(unanswered.err.starts_with("error: nobody can be asked: Move /cache/stale and 2 more into quarantine?"), "{unanswered:?}");
        let dry = machine.state(["orphans", "--quarantine", "--dry-run"]);
        assert_eq!((dry.code, dry.out.lines().count()), (0, 3), "{dry:?}");
        if machine.at("/run").exists() {
            fs::remove_dir_all(machine.at("/run")).unwrap(); // the lock
        }
        assert_eq!(machine.everything(), before);

        let said = machine.state(["--yes", "orphans", "--quarantine", "/persist/var/lib/old"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(orphans(&machine), &FOUND[..2]);
        assert_eq!(machine.quarantined("/var/lib/old/f"), ["12345"]);
        let list = machine.state(["orphans"]).out;
        assert!(list.contains("  /persist/var/lib/old\n"), "{list}");

        // What stands there now is never replaced.
        machine.write("/persist/var/lib/old/new", "x");
        let said = machine.state(["orphans", "restore", "2"]);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains("/persist/var/lib/old stands there now: move it away, then restore this one"), "{said:?}");
        fs::remove_dir_all(machine.at("/persist/var/lib/old")).unwrap();
        assert_eq!(machine.state(["orphans", "restore", "2"]).code, 0);
        assert_eq!(orphans(&machine), FOUND);
        assert_eq!(fs::read_dir(machine.at("/persist/.state/quarantine")).unwrap().count(), 0);
    }

    fn ns_only_what_has_expired_is_purged_unless_it_is_named(machine) {
        configured(&machine);
        let take = |days: &str, path: &str| {
            let said = machine.state(["--yes", "orphans", "--quarantine", "--days", days, path]);
            assert_eq!(said.code, 0, "{said:?}");
        };
        take("0", "/persist/etc/f.bak");
        take("7", "/persist/var/lib/old");
        assert_eq!(machine.state(["orphans", "purge"]).code, 4, "nobody answered");
        assert_eq!(machine.quarantined("/etc/f.bak"), ["bak"]);
        let said = machine.state(["--yes", "orphans", "purge"]);
        assert_eq!(said.out, "/persist/etc/f.bak: deleted\n", "{said:?}");
        assert_eq!(machine.state(["--yes", "orphans", "purge"]).out, "nothing to do\n");
        assert_eq!(machine.quarantined("/var/lib/old/f"), ["12345"]);
        assert_eq!(machine.state(["--yes", "orphans", "purge", "2"]).code, 0);
        assert_eq!(machine.quarantined("/var/lib/old/f"), [""; 0]);
        assert_eq!(machine.state(["orphans", "restore", "2"]).code, 1);
    }

    fn ns_what_a_link_still_leads_to_stays_and_is_declared_again(machine) {
        let linked = "{ path = \"/etc/x/linked\", method = \"symlink\" }";
        let store = |files: &str| format!("[persist.\"/persist\"]\nfiles = [{files}]\n");
        machine.configure(&["/persist"], &store(&format!("{linked}, \"/etc/x/bound\"")));
        machine.write("/persist/etc/x/linked", "1");
        machine.write("/persist/etc/x/bound", "2");
        assert_eq!(machine.mount(&[]).0, 0);
        assert_eq!(machine.state(["drop", "/etc/x/linked", "/etc/x/bound"]).code, 0);
        let said = machine.state(["keep", "/etc/x/bound"]);
        let expected = "error: keeping /etc/x/bound: the store holds it already: /persist/etc/x/bound\n\
                        hint: declare it again: add \"/etc/x/bound\" to `files` of [persist.\"/persist\"], then `state mount`\n";
        assert_eq!((said.code, said.err.as_str()), (4, expected));
        assert_eq!(machine.state(["drop", "--now", "/etc/x/bound"]).code, 4, "it is dropped");
        rustix::mount::unmount(machine.at("/etc/x/bound"), rustix::mount::UnmountFlags::empty()).unwrap();

        let said = machine.state(["--yes", "orphans", "--quarantine"]);
        assert!(said.err.contains(" is in use by a link at /etc/x/linked"), "{said:?}");
        assert_eq!(machine.read("/persist/etc/x/linked"), "1");
        let said = machine.state(["keep", "/etc/x/linked"]);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains(&format!("add {linked} to `files`")), "{said:?}");

        // After a boot, nothing is there.
        fs::remove_file(machine.at("/etc/x/linked")).unwrap();
        let said = machine.state(["keep", "/etc/x/linked"]);
        assert!(said.err.contains("add \"/etc/x/linked\" to `files`"), "{said:?}");
        assert_eq!(machine.state(["--yes", "orphans", "--quarantine"]).code, 0);
    }

    fn ns_what_is_mounted_or_not_known_is_no_orphan_to_move(machine) {
        configured(&machine);
        assert_eq!(machine.mount(&[]).0, 0);
        assert_eq!(machine.state(["drop", "/var/lib/app"]).code, 0);
        let said = machine.state(["--yes", "orphans", "--quarantine", "/persist/var"]);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains("/persist/var is in use by a mount at /var/lib/app"), "{said:?}");
        assert_eq!(machine.read("/persist/var/lib/app/f"), "kept");
        let said = machine.state(["--yes", "orphans", "--quarantine", "/persist/home/ann"]);
        assert_eq!((said.code, said.err.lines().next()), (2, Some("error: /persist/home/ann is no orphan")));

        let unknown = format!("{STORES}\n[persist.\"/persist\".users.bob]\nfiles = [\".x\"]\n");
        machine.configure(&[], &unknown);
        let said = machine.state(["--yes", "orphans", "--quarantine"]);
        assert_eq!((said.code, said.err.lines().next()), (4, Some("error: what belongs to the entries of the user bob is not known")), "{said:?}");
        assert_eq!(orphans(&machine), ["/cache/stale 1 1", "/persist/etc/f.bak 1 3", "/persist/var/lib/old 4 8"]);
    }
}
