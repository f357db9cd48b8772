//! Between the look and the act the machine may change: then nothing is done.

use crate::harness::{Machine, ns};
use state::persist::{Anchors, Applier, Ownership, PersistTree, Replaces, Stamp, Step, Users};
use state_api::{Apply as _, Error, Never, Outcome};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const TEXT: &str = "[persist.\"/persist\"]\ndirectories = [\"/d\"]\nfiles = [\"/f\"]";

fn apply(machine: &Machine, step: &Step) -> Result<Outcome, String> {
    let settings = state::config::parse_text(Path::new("state.toml"), TEXT).unwrap();
    let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
    let anchors = Anchors::open(&machine.root(), &tree, false, BTreeMap::new()).unwrap();
    let mut applier = Applier::new(&anchors, &Never, chrono::Utc::now());
    let outcome = applier.apply(step);
    applier.finish().unwrap();
    outcome.map_err(|error| match error {
        Error::Stale { what } => format!("stale: {what}"),
        error => error.to_string(),
    })
}

fn bind(path: &str, hides: Option<Stamp>) -> Step {
    Step::Bind {
        path: path.into(),
        source: format!("/persist{path}").into(),
        hides,
    }
}

fn link(path: &str, replaces: Replaces) -> Step {
    Step::Link {
        path: path.into(),
        source: format!("/persist{path}").into(),
        replaces,
    }
}

const NOBODYS: Stamp = Stamp {
    inode: 1,
    size: 1,
    modified: (1, 1),
};

ns! {
    fn ns_what_changed_since_it_was_looked_at_is_left_alone(machine) {
        machine.configure(&["/persist"], TEXT);
        machine.write("/persist/d/kept", "");
        machine.write("/persist/f", "kept");
        machine.write("/d/appeared", "x");
        machine.write("/f", "appeared");
        let before = machine.everything();
        for (step, expected) in [
            (bind("/d", None), "stale: /d"),
            (bind("/f", None), "stale: /f"),
            (bind("/d", Some(NOBODYS)), "stale: /d"),
            (link("/d", Replaces::EmptyDirectory), "stale: /d"),
            (link("/f", Replaces::EmptyDirectory), "stale: /f"),
            (link("/f", Replaces::File(NOBODYS)), "stale: /f"),
            (link("/d", Replaces::File(NOBODYS)), "stale: /d"),
            (link("/f", Replaces::Nothing), "stale: /f"),
        ] {
            assert_eq!(apply(&machine, &step), Err(expected.to_owned()), "{step:?}");
            assert_eq!(machine.everything(), before, "{step:?}");
        }
        fs::remove_file(machine.at("/f")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", machine.at("/f")).unwrap();
        let expected = Err("stale: /f".to_owned());
        assert_eq!(apply(&machine, &link("/f", Replaces::Link("/persist/old".into()))), expected);
        assert_eq!(fs::read_link(machine.at("/f")).unwrap(), Path::new("/elsewhere"));
    }

    fn ns_every_step_finds_itself_done(machine) {
        machine.configure(&["/persist"], TEXT);
        let ownership = Ownership { uid: 0, gid: 0, mode: 0o750 };
        let source = |name: &str| format!("/persist{name}").into();
        let at = |name: &str| name.into();
        for step in [
            Step::MakeDirectory { path: source("/d"), ownership },
            Step::MakeDirectory { path: at("/d"), ownership },
            bind("/d", None),
            Step::MakeFile { path: source("/f"), ownership },
            link("/f", Replaces::Nothing),
        ] {
            assert_eq!(apply(&machine, &step), Ok(Outcome::Made), "{step:?}");
            let before = (machine.everything(), machine.mounts());
            assert_eq!(apply(&machine, &step), Ok(Outcome::AlreadySo), "{step:?}");
            assert_eq!((machine.everything(), machine.mounts()), before, "{step:?}");
        }
        let in_the_way = Step::MakeDirectory { path: at("/f"), ownership };
        assert_eq!(apply(&machine, &in_the_way), Err("making /f: File exists (os error 17)".into()));
    }

    fn ns_what_a_cut_left_in_the_middle_of_a_replacement_is_never_thrown_away(machine) {
        machine.configure(&["/persist"], TEXT);
        machine.write("/persist/f", "kept");
        machine.write("/f", "");
        machine.write("/.state-replaced", "what was replaced, longer than anything of ours");
        let stat = fs::metadata(machine.at("/f")).unwrap();
        let stamp = {
            use std::os::unix::fs::MetadataExt as _;
            let nanoseconds = u32::try_from(stat.mtime_nsec()).unwrap();
            Stamp { inode: stat.ino(), size: 0, modified: (stat.mtime(), nanoseconds) }
        };
        let error = apply(&machine, &link("/f", Replaces::File(stamp))).unwrap_err();
        let expected = "linking to /persist/f: .state-replaced beside it is what an interrupted \
                        run left: look at it";
        assert_eq!(error, expected);
        assert!(machine.read("/.state-replaced").starts_with("what was replaced"));
        fs::remove_file(machine.at("/.state-replaced")).unwrap();
        assert_eq!(apply(&machine, &link("/f", Replaces::File(stamp))), Ok(Outcome::Made));
    }
}
