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
}
