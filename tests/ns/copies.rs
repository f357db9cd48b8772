//! Copied files: `/etc/passwd` and others that their programs replace by a rename.

use crate::harness::{Machine, ns};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ONE: &str =
    "[persist.\"/persist\"]\nfiles = [{ path = \"/etc/f\", method = \"copy\", mode = \"0600\" }]";

fn in_place(how: &str) -> (i32, Vec<String>) {
    (0, vec![format!("/etc/f: {how}")])
}

/// What `passwd` and its like do.
fn replace(machine: &Machine, content: &str) {
    machine.write("/etc/f.new", content);
    fs::rename(machine.at("/etc/f.new"), machine.at("/etc/f")).unwrap();
}

fn both(machine: &Machine) -> (String, String) {
    (machine.read("/etc/f"), machine.read("/persist/etc/f"))
}

fn same(text: &str) -> (String, String) {
    (text.to_owned(), text.to_owned())
}

/// The machine after a reset: nothing of root, nor of /run, is left.
fn reboot(machine: &Machine) {
    fs::remove_dir_all(machine.at("/etc")).unwrap();
    fs::remove_dir_all(machine.at("/run")).unwrap();
}

/// A watch that runs; ended by force if nobody ends it well.
struct Watching(Child);

impl Watching {
    fn start(machine: &Machine) -> Self {
        let mut command = machine.command(["mount", "--watch"]);
        Self(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn stop(self, machine: &Machine) -> crate::harness::Said {
        self.signal(rustix::process::Signal::TERM);
        self.ended(machine)
    }

    fn ended(mut self, machine: &Machine) -> crate::harness::Said {
        let nobody = Command::new("true").spawn().unwrap();
        let child = std::mem::replace(&mut self.0, nobody);
        machine.said(child.wait_with_output().unwrap())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

ns! {
    // Rows 7 and 10: programs write a new file and rename it over the old one.
    fn ns_a_copied_file_may_be_replaced_and_outlives_the_reset(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        fs::set_permissions(machine.at("/persist/etc/f"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!((both(&machine), machine.ownership("/etc/f")), (same("one"), "0:0 0640".into()));
        assert!(!machine.is_same("/etc/f", "/persist/etc/f"));
        assert_eq!(machine.mount(&[]), in_place("in-place"));

        replace(&machine, "two");
        assert_eq!(machine.state(["mount"]).out.lines().next(), Some("/etc/f: saved"));
        assert_eq!(both(&machine), same("two"));
        assert_eq!(machine.ownership("/persist/etc/f"), machine.ownership("/etc/f"));

        reboot(&machine);
        assert_eq!(machine.mount(&["--early"]), (0, vec![]));
        assert_eq!(machine.state(["mount"]).out.lines().next(), Some("/etc/f: copied"));
        assert_eq!(both(&machine), same("two"));
    }

    fn ns_a_change_of_mode_alone_is_saved_too(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        fs::set_permissions(machine.at("/etc/f"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(machine.ownership("/persist/etc/f"), "0:0 0600");
    }

    fn ns_what_differs_at_first_is_neither_overwritten_nor_saved(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "store");
        machine.write("/etc/f", "root");
        let before = both(&machine);
        let said = machine.state(["mount"]);
        let expected = "error: putting /etc/f in place: it differs from the store's, and its content \
                        exists nowhere else\n\
                        hint: keep this one with `state keep /etc/f`, or the store's with `rm /etc/f` and \
                        `state mount`\n";
        assert_eq!((said.code, said.err.as_str()), (1, expected));
        assert_eq!(both(&machine), before);
        // The cure it names.
        fs::remove_file(machine.at("/etc/f")).unwrap();
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("store"));
    }

    fn ns_a_file_that_only_root_has_is_saved_and_none_is_made_up(machine) {
        machine.configure(&["/persist"], ONE);
        assert_eq!(machine.mount(&[]), in_place("left-out: there is nothing to copy yet"));
        machine.write("/etc/f", "made later");
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("made later"));
    }

    fn ns_deleting_a_copied_file_deletes_nothing_in_the_store(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        fs::remove_file(machine.at("/etc/f")).unwrap();
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("one"));
    }

    fn ns_when_both_changed_the_last_save_wins_and_the_other_is_kept(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        machine.write("/persist/etc/f", "restored");
        // The store's alone: it is put in place.
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("restored"));
        machine.write("/persist/etc/f", "restored again");
        replace(&machine, "in use");
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("in use"));
        assert_eq!(machine.quarantined("/etc/f"), ["restored again"]);
        assert_eq!(machine.ownership("/persist/.state/quarantine"), "0:0 0700");
    }

    fn ns_neither_an_emptied_nor_a_half_written_file_is_saved(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        let writer = fs::File::create(machine.at("/etc/f")).unwrap();
        let failed = "/etc/f: failed: it is empty, and /persist/etc/f is not: a program may have stopped halfway";
        assert_eq!(machine.mount(&[]), (1, vec![failed.to_owned()]));
        std::io::Write::write_all(&mut &writer, b"half").unwrap();
        let (code, told) = machine.mount(&[]);
        assert_eq!(code, 1);
        assert!(told[0].ends_with("is writing it"), "{told:?}");
        assert_eq!(machine.read("/persist/etc/f"), "one");
        drop(writer);
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("half"), "closed: it is what its program wrote");
    }

    fn ns_a_full_store_keeps_the_old_copy(machine) {
        machine.configure(&[], ONE);
        machine.mount_small_tmpfs("/persist", 64 << 10);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        replace(&machine, &"x".repeat(100_000));
        let (code, told) = machine.mount(&[]);
        assert_eq!((code, told[0].contains("No space left")), (1, true), "{told:?}");
        assert_eq!(machine.read("/persist/etc/f"), "one");
        assert_eq!(fs::read_dir(machine.at("/persist/etc")).unwrap().count(), 1, "nothing is left behind");
        replace(&machine, "smaller");
        assert_eq!(machine.mount(&[]), in_place("done"));
        assert_eq!(both(&machine), same("smaller"));
    }

    fn ns_the_watch_saves_what_changes_and_the_last_change_at_the_end(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        let watching = Watching::start(&machine);
        for content in ["two", "three"] {
            replace(&machine, content);
            wait_for(content, || machine.read("/persist/etc/f") == content);
        }
        // A second one would be in its way.
        let second = machine.state(["mount", "--watch"]);
        assert_eq!((second.code, second.err.contains("another run watches already (pid ")), (4, true), "{second:?}");
        // Deleted for a moment: it is not brought back by the watch.
        fs::remove_file(machine.at("/etc/f")).unwrap();
        machine.write("/etc/other", "x");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(machine.read("/persist/etc/f"), "three");
        assert!(!machine.at("/etc/f").exists());
        // Too late to be noticed before the end.
        watching.signal(rustix::process::Signal::STOP);
        replace(&machine, "last");
        watching.signal(rustix::process::Signal::TERM);
        watching.signal(rustix::process::Signal::CONT);
        let said = watching.ended(&machine);
        assert_eq!(both(&machine), same("last"), "{said:?}");
    }

    fn ns_the_watch_follows_the_configuration(machine) {
        machine.configure(&["/persist"], ONE);
        machine.write("/persist/etc/f", "one");
        assert_eq!(machine.mount(&[]), in_place("done"));
        let watching = Watching::start(&machine);
        let pid = format!("{}\n", watching.0.id());
        wait_for("the watch", || machine.read("/run/state/watch.lock") == pid);
        machine.configure(&[], "[persist.\"/persist\"]\nfiles = [{ path = \"/etc/f\", method = \"copy\" }, { path = \"/srv/deep/g\", method = \"copy\" }]");
        machine.write("/srv/deep/g", "new");
        wait_for("the new file", || machine.read("/persist/srv/deep/g") == "new");
        // What is wrong for a moment changes nothing.
        machine.configure(&[], "[persist.");
        replace(&machine, "two");
        wait_for("the old file", || machine.read("/persist/etc/f") == "two");
        machine.configure(&[], ONE);
        // Neither was there when it began, and each may come at any time.
        for name in ["h", "i"] {
            machine.write(&format!("/srv/{name}"), "merged");
            machine.write(
                &format!("/persist/etc/state/state.d/{name}.toml"),
                &format!("[persist.\"/persist\"]\nfiles = [{{ path = \"/srv/{name}\", method = \"copy\" }}]"),
            );
            let copy = format!("/persist/srv/{name}");
            wait_for("a file that was merged", || machine.read(&copy) == "merged");
        }
        let said = watching.stop(&machine);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.ends_with("all of 3 copied files are saved\n"), "{said:?}");
    }
}
