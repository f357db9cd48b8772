//! What blank brought may be hidden, and fills a store that has nothing yet.

use crate::harness::{Machine, ns};
use rustix::fs::{Mode, OFlags, open};
use state::context::Context;
use state::ops::mount::{Options, Report, Status, place_all};
use state::persist::{Blank, PersistTree, Users};
use state_api::{Never, View};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Puts the entries in place with the directory `/blank` of the machine as its blank.
fn mount(machine: &Machine, text: &str, dry_run: bool) -> Vec<String> {
    let settings = state::config::parse_text(Path::new("state.toml"), text).unwrap();
    let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
    let cx = Context {
        root_dir: machine.root(),
        config_file: None,
        now: chrono::DateTime::UNIX_EPOCH,
        boot_id: String::new(),
        interrupt: &Never,
        dry_run,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let blank = machine.at("/blank");
    let blank = Blank::new(|| Some(View::frozen(open(&blank, flags, Mode::empty()).unwrap())));
    let unfit = BTreeMap::<PathBuf, String>::new();
    let report: Report =
        place_all(&cx, &settings, &tree, &blank, (Options::default(), unfit)).unwrap();
    let tell = |(path, status): (&Path, &Status)| match status {
        Status::InPlace => format!("{}: in place", path.display()),
        Status::Done { steps } | Status::Planned { steps } => {
            let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
            format!("{}: {}", path.display(), steps.join(", "))
        }
        Status::LeftOut { why } => format!("{}: left out: {why}", path.display()),
        Status::Failed { error, .. } => format!("{}: failed: {error}", path.display()),
    };
    (report
        .entries
        .iter()
        .map(|entry| (entry.path.as_path(), &entry.status)))
    .filter(|(path, _)| !path.ends_with("state.toml"))
    .map(tell)
    .collect()
}

const TEXT: &str = r#"
    [persist."/persist"]
    directories = ["/var/lib/app"]
    files = ["/etc/conf", { path = "/etc/linked", method = "symlink" }]
"#;

/// The same on the machine and in its blank.
fn installed(machine: &Machine) {
    machine.configure(&["/persist"], TEXT);
    for side in ["", "/blank"] {
        machine.write(&format!("{side}/var/lib/app/seed\nling"), "installed");
        machine.directory(&format!("{side}/var/lib/app/sub"), 0o2711);
        machine.directory(&format!("{side}/var/lib/app"), 0o750);
        machine.write(&format!("{side}/etc/conf"), "installed");
        machine.write(&format!("{side}/etc/linked"), "installed");
    }
}

ns! {
    fn ns_what_blank_brought_fills_a_store_that_has_nothing(machine) {
        installed(&machine);
        let steps = [
            "/etc/conf: make directory /persist/etc (0:0 0755), copy /etc/conf to \
             /persist/etc/conf, mount /persist/etc/conf at /etc/conf",
            "/etc/linked: make directory /persist/etc (0:0 0755), copy /etc/linked to \
             /persist/etc/linked, link /etc/linked to /persist/etc/linked",
            "/var/lib/app: make directory /persist/var (0:0 0755), make directory \
             /persist/var/lib (0:0 0755), copy /var/lib/app to /persist/var/lib/app, mount \
             /persist/var/lib/app at /var/lib/app",
        ];
        assert_eq!(mount(&machine, TEXT, true), steps);
        assert!(!machine.at("/persist/etc").exists());
        // What the first entry made, the second need not make.
        let mut steps = steps.map(str::to_owned);
        steps[1] = steps[1].replace("make directory /persist/etc (0:0 0755), ", "");
        assert_eq!(mount(&machine, TEXT, false), steps);
        assert!(machine.is_same("/var/lib/app", "/persist/var/lib/app"));
        assert_eq!(machine.read("/var/lib/app/seed\nling"), "installed");
        assert_eq!(machine.ownership("/var/lib/app"), "0:0 0750");
        assert_eq!(machine.ownership("/var/lib/app/sub"), "0:0 2711");
        let target = fs::read_link(machine.at("/etc/linked")).unwrap();
        assert_eq!(machine.read(target.to_str().unwrap()), "installed");
        assert_eq!(fs::read_dir(machine.at("/persist")).unwrap().count(), 2, "no staging is left");
        let in_place = ["/etc/conf", "/etc/linked", "/var/lib/app"].map(|path| format!("{path}: in place"));
        assert_eq!(mount(&machine, TEXT, false), in_place);
    }

    fn ns_what_blank_brought_may_be_hidden_and_what_was_added_may_not(machine) {
        installed(&machine);
        machine.write("/persist/var/lib/app/other", "kept");
        machine.write("/persist/etc/conf", "kept");
        machine.write("/persist/etc/linked", "kept");
        machine.write("/var/lib/app/added", "x");
        machine.write("/etc/linked", "changed");
        assert_eq!(
            mount(&machine, TEXT, false),
            [
                "/etc/conf: mount /persist/etc/conf at /etc/conf",
                "/etc/linked: failed: detached: a file stands in place of the link, with content \
                 that exists nowhere else",
                "/var/lib/app: failed: it holds 1 thing that exists nowhere else, \
                 /var/lib/app/added first",
            ]
        );
        // One thing in the store, the others in blank: all of it exists elsewhere.
        machine.write("/persist/var/lib/app/added", "x");
        let told = mount(&machine, TEXT, false);
        assert_eq!(told[2], "/var/lib/app: mount /persist/var/lib/app at /var/lib/app");
        assert_eq!(machine.read("/var/lib/app/other"), "kept");
        assert_eq!(machine.read("/etc/linked"), "changed");
    }

    fn ns_nothing_of_the_machine_seeds_a_store_but_what_blank_brought(machine) {
        installed(&machine);
        machine.write("/var/lib/app/added", "x");
        let told = mount(&machine, TEXT, false);
        let refused = "/var/lib/app: failed: it holds 1 thing that exists nowhere else, \
                       /var/lib/app/added first";
        assert_eq!(told[2], refused);
        assert!(!machine.at("/persist/var/lib/app").exists());
    }

    // At a boot blank's file may be younger than the store's: the store's is the one that was kept.
    fn ns_what_blank_brought_gives_way_to_a_copied_file(machine) {
        const COPIED: &str =
            "[persist.\"/persist\"]\nfiles = [{ path = \"/etc/conf\", method = \"copy\" }]";
        machine.configure(&["/persist"], COPIED);
        machine.write("/persist/etc/conf", "kept");
        machine.write("/blank/etc/conf", "installed");
        machine.write("/etc/conf", "installed");
        let copied = "/etc/conf: copy /persist/etc/conf to /etc/conf";
        assert_eq!(mount(&machine, COPIED, true), [copied]);
        assert_eq!(mount(&machine, COPIED, false), [copied]);
        assert_eq!(machine.read("/etc/conf"), "kept");
        // Later at the same boot, the machine's is the newer one, whatever blank holds.
        machine.write("/etc/conf", "installed");
        let saved = "/etc/conf: save /etc/conf to /persist/etc/conf";
        assert_eq!(mount(&machine, COPIED, false), [saved]);
        assert_eq!(machine.read("/persist/etc/conf"), "installed");
    }
}
