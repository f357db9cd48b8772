//! Words for file managers, as libmount reads them.

use crate::harness::ns;
use state::persist::{PersistTree, Users, utab};
use std::path::Path;
use std::process::Command;

ns! {
    fn ns_libmount_finds_the_words_beside_the_mounts(machine) {
        let text = |place: &str| format!(
            "[persist.\"{place}/persist\"]\nhide-mounts = true\nallow-trash = true\n\
             directories = [\"{place}/a b\"]\nfiles = [\"{place}/not mounted\"]"
        );
        let place = machine.root();
        let place = place.to_str().unwrap();
        machine.configure(&["/persist"], "[persist.\"/persist\"]\ndirectories = [\"/a b\"]");
        assert_eq!(machine.mount(&[]).0, 0);
        // The table holds paths as the process sees them: this machine is not the running one.
        let settings = state::config::parse_text(Path::new("state.toml"), &text(place)).unwrap();
        let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
        let table = machine.at("/run/mount/utab");
        assert_eq!(utab::note(&table, tree.entries()).unwrap(), 1);
        assert_eq!(utab::note(&table, tree.entries()).unwrap(), 0, "a second time nothing is new");
        let findmnt = Command::new("findmnt")
            .env("LIBMOUNT_UTAB", &table)
            .args(["--mtab", "--noheadings", "--output", "OPTIONS", "--mountpoint"])
            .arg(machine.at("/a b"))
            .output()
            .expect("findmnt(8) is part of util-linux");
        let options = String::from_utf8(findmnt.stdout).unwrap();
        assert!(options.trim().ends_with("x-gvfs-hide,x-gvfs-trash"), "{options}");
    }

    fn ns_the_running_machine_notes_the_words_of_what_it_mounts(machine) {
        // Its own /run, as long as the test lasts.
        let options = [("mode", Some(std::ffi::OsStr::new("0755")))];
        let run = state_linux::mount::tmpfs(&options, state_linux::mount::Attributes::empty()).unwrap();
        state_linux::mount::attach(run, rustix::fs::CWD, Path::new("/run")).unwrap();
        let place = machine.root();
        let place = place.to_str().unwrap();
        machine.configure(&["/persist"], &format!(
            "[persist.\"{place}/persist\"]\nhide-mounts = true\ndirectories = [\"{place}/a\"]"
        ));
        let mount = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
            command.arg("--config").arg(machine.config()).args(["mount", "--early"]);
            let early = command.status().unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
            let late = command.arg("--config").arg(machine.config()).arg("mount").status().unwrap();
            (early.success(), late.success())
        };
        assert_eq!(mount(), (true, true));
        let table = std::fs::read_to_string(utab::TABLE).unwrap();
        assert_eq!(table.matches("OPTS=x-gvfs-hide").count(), 1, "{table}");
        assert!(table.contains(&format!(" TARGET={place}/a ")), "{table}");
        assert_eq!(mount(), (true, true));
        assert_eq!(std::fs::read_to_string(utab::TABLE).unwrap(), table);
    }
}
