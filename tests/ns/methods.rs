//! What each method can and cannot do, and the rule of the machine id.

use crate::harness::ns;
use std::fs;
use std::path::Path;

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "ffffffffffffffffffffffffffffffff";
const MACHINE_ID: &str = "[persist.\"/persist\"]\nfiles = [\"/etc/machine-id\"]";

ns! {
    // Row 7: programs write a new file and rename it over the old one.
    fn ns_a_bound_file_cannot_be_replaced_and_a_replaced_source_is_noticed(machine) {
        machine.configure(&["/persist"], "[persist.\"/persist\"]\nfiles = [\"/etc/f\"]");
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]).0, 0);
        machine.write("/etc/f.new", "two");
        let busy = fs::rename(machine.at("/etc/f.new"), machine.at("/etc/f")).unwrap_err();
        assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy);

        machine.write("/persist/etc/f.new", "three");
        fs::rename(machine.at("/persist/etc/f.new"), machine.at("/persist/etc/f")).unwrap();
        assert_eq!(machine.read("/etc/f"), "one");
        let (code, told) = machine.mount(&[]);
        assert_eq!(told, ["/etc/f: failed: it shows what /persist/etc/f was before it was replaced"]);
        assert_eq!(code, 1);
    }

    fn ns_a_link_that_a_program_replaced_is_noticed_and_never_overwritten(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            files = [{ path = "/etc/f", method = "symlink" }]
        "#);
        machine.write("/persist/etc/f", "old");
        assert_eq!(machine.mount(&[]), (0, vec!["/etc/f: done".to_owned()]));
        machine.write("/etc/f.new", "newer");
        fs::rename(machine.at("/etc/f.new"), machine.at("/etc/f")).unwrap();
        let said = machine.state(["mount"]);
        assert_eq!(said.code, 1);
        assert_eq!(
            said.err,
            "error: putting /etc/f in place: detached: a file stands in place of the link, with \
             content that exists nowhere else\n\
             hint: keep this one with `state keep /etc/f`, or the store's with `rm /etc/f` and \
             `state mount`\n"
        );
        assert_eq!((machine.read("/etc/f"), machine.read("/persist/etc/f")), ("newer".into(), "old".into()));

        // The cure it names.
        assert_eq!(machine.state(["keep", "/etc/f"]).code, 0);
        assert_eq!(machine.read("/persist/etc/f"), "newer");
        assert_eq!(machine.quarantined("/etc/f"), ["old"]);
        assert_eq!(fs::read_link(machine.at("/etc/f")).unwrap(), Path::new("/persist/etc/f"));
    }

    fn ns_links_replace_what_is_empty_and_links_of_ours(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            directories = [{ path = "/d", method = "symlink" }, { path = "/full", method = "symlink" }]
            files = [{ path = "/f", method = "symlink" }, { path = "/moved", method = "symlink" }]
        "#);
        machine.directory("/d", 0o700);
        machine.write("/f", "");
        machine.write("/full/a", "x");
        machine.write("/persist/full/a", "x");
        std::os::unix::fs::symlink("/persist/old/place", machine.at("/moved")).unwrap();
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/d: done",
                "/f: done",
                "/full: failed: a directory with content stands where a link is declared",
                "/moved: done",
            ]
        );
        assert_eq!(code, 3);
        for path in ["/d", "/f", "/moved"] {
            let target = fs::read_link(machine.at(path)).unwrap();
            assert_eq!(target, Path::new(&format!("/persist{path}")));
            assert!(machine.at(target).exists(), "no link dangles");
        }
    }

    // Row 9: links that dangle and empty keys break what makes them.
    fn ns_a_missing_file_is_made_left_out_or_refused_as_declared(machine) {
        machine.configure(&["/persist"], r#"
            [persist."/persist"]
            files = [
                { path = "/etc/made", mode = "0640" },
                { path = "/etc/made-link", method = "symlink" },
                { path = "/etc/skip", method = "symlink", if-missing = "skip" },
                { path = "/etc/must", if-missing = "fail" },
            ]
        "#);
        let (code, told) = machine.mount(&[]);
        assert_eq!(
            told,
            [
                "/etc/made: done",
                "/etc/made-link: done",
                "/etc/must: failed: /persist/etc/must does not exist",
                "/etc/skip: left-out: it is not in the store yet",
            ]
        );
        assert_eq!(code, 3);
        assert_eq!(machine.ownership("/persist/etc/made"), "0:0 0640");
        assert!(fs::symlink_metadata(machine.at("/etc/skip")).is_err());
        machine.write("/persist/etc/skip", "now");
        assert_eq!(machine.mount(&[]).1[3], "/etc/skip: done");
    }

    // Row 11: the id must be there before PID 1, and a mount there makes its commit fail.
    fn ns_the_machine_id_is_written_before_pid_1_and_brought_back_once(machine) {
        machine.configure(&["/persist"], MACHINE_ID);
        // The first boot: nobody has an id.
        assert_eq!(machine.mount(&["--early"]), (0, vec!["/etc/machine-id: done".to_owned()]));
        assert_eq!(machine.read("/etc/machine-id"), "uninitialized\n");
        assert!(!machine.at("/persist/etc/machine-id").exists());
        assert_eq!(machine.mount(&["--early"]).1, ["/etc/machine-id: in-place"]);
        let waits = "/etc/machine-id: left-out: the machine has no id yet";
        assert_eq!(machine.mount(&[]).1, [waits]);
        // PID 1 makes one.
        fs::remove_file(machine.at("/etc/machine-id")).unwrap();
        machine.write("/etc/machine-id", &format!("{ID}\n"));
        assert_eq!(machine.mount(&[]), (0, vec!["/etc/machine-id: done".to_owned()]));
        assert_eq!(machine.read("/persist/etc/machine-id"), format!("{ID}\n"));
        assert_eq!(machine.ownership("/persist/etc/machine-id"), "0:0 0444");
        assert_eq!(machine.mount(&[]).1, ["/etc/machine-id: in-place"]);
        // The next boot, on a fresh root.
        fs::remove_file(machine.at("/etc/machine-id")).unwrap();
        assert_eq!(machine.mount(&["--early"]).0, 0);
        assert_eq!(machine.read("/etc/machine-id"), format!("{ID}\n"));
        assert_eq!(machine.mounts(), 2, "nothing is mounted there");
    }

    fn ns_two_machine_ids_are_not_confused(machine) {
        machine.configure(&["/persist"], MACHINE_ID);
        machine.write("/persist/etc/machine-id", ID);
        machine.write("/etc/machine-id", OTHER);
        let refused = format!("/etc/machine-id: failed: the machine runs as {OTHER}, and the store says {ID}");
        assert_eq!(machine.mount(&[]), (1, vec![refused]));
        machine.write("/persist/etc/machine-id", "what is this");
        let strange = "/etc/machine-id: failed: /persist/etc/machine-id holds no machine id";
        assert_eq!(machine.mount(&["--early"]), (1, vec![strange.to_owned()]));
        assert_eq!(machine.read("/etc/machine-id"), OTHER);
    }
}
