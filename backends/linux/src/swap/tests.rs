//! Both ways of exchanging, cut after every act.

use super::act::cut;
use super::waiting::Waiting;
use super::{Children, Sibling};
use state_api::{Error, Incoming, Outcome, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

trait Swap: Waiting {
    fn at(top: &Path) -> Self;
    /// Where the live tree is below `top`.
    const LIVE: &'static str;
    fn stage(&self) -> Result<OwnedFd>;
    fn exchange(&self) -> Result<Outcome>;
    fn exchange_back(&self) -> Result<Outcome>;
    fn recover(&self) -> Result<Outcome>;
    fn exchange_waiting(&self) -> Result<Outcome>;
    fn both(&self) -> (bool, bool);
    fn discard(&self) -> (Outcome, Outcome);
}

macro_rules! swap {
    ($type:ty, $live:literal, $at:expr) => {
        impl Swap for $type {
            const LIVE: &'static str = $live;
            fn at(top: &Path) -> Self {
                $at(File::open(top).unwrap().into())
            }
            fn stage(&self) -> Result<OwnedFd> {
                self.stage()
            }
            fn exchange(&self) -> Result<Outcome> {
                self.exchange()
            }
            fn exchange_back(&self) -> Result<Outcome> {
                self.exchange_back()
            }
            fn recover(&self) -> Result<Outcome> {
                self.recover()
            }
            fn exchange_waiting(&self) -> Result<Outcome> {
                self.exchange_waiting()
            }
            fn both(&self) -> (bool, bool) {
                (self.has_staged().unwrap(), self.has_replaced().unwrap())
            }
            fn discard(&self) -> (Outcome, Outcome) {
                (
                    self.discard_staged().unwrap(),
                    self.discard_replaced().unwrap(),
                )
            }
        }
    };
}

swap!(Sibling, "a store", |parent| Sibling::new(parent, "a store"));
swap!(Children, ".", Children::new);

/// Names and texts below a directory, and the directory's own mode; what is ours left out.
fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mode = fs::metadata(dir).unwrap().permissions().mode();
    let mut found = BTreeMap::from([(PathBuf::new(), format!("{:o}", mode & 0o7777))]);
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap().map(|e| e.unwrap()) {
            let path = entry.path();
            let name = path.strip_prefix(dir).unwrap().to_owned();
            if name == Path::new(".state") {
                continue;
            } else if path.is_dir() {
                found.insert(name, "directory".into());
                todo.push(path);
            } else {
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// A store with an old tree, a replaced one from before, and a staged new one; both share names.
fn set_up<S: Swap>(top: &Path) -> [BTreeMap<PathBuf, String>; 2] {
    let live = top.join(S::LIVE);
    fs::create_dir_all(live.join("shared")).unwrap();
    fs::write(live.join("shared/file"), "oldest").unwrap();
    for (text, mode) in [("old", 0o755), ("new", 0o711)] {
        let staged = S::at(top).stage().unwrap();
        let dir = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&staged));
        let dir = Path::new(&dir);
        fs::create_dir(dir.join("shared")).unwrap();
        fs::create_dir(dir.join(text)).unwrap();
        for name in ["shared/file", "plain file"] {
            fs::write(dir.join(name), text).unwrap();
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
        if text == "old" {
            S::at(top).exchange().unwrap();
        }
    }
    let wanted = |text: &str, mode: &str| {
        [
            ("", mode),
            (text, "directory"),
            ("plain file", text),
            ("shared", "directory"),
            ("shared/file", text),
        ]
        .map(|(path, text)| (path.into(), text.to_owned()))
        .into()
    };
    let trees = [wanted("old", "755"), wanted("new", "711")];
    assert_eq!(tree(&live), trees[0]);
    assert_eq!(S::at(top).both(), (true, true));
    trees
}

fn swaps_there_and_back<S: Swap>() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join(S::LIVE);
    let [old, new] = set_up::<S>(dir.path());
    let swap = S::at(dir.path());
    assert_eq!(swap.exchange().unwrap(), Outcome::Made);
    assert_eq!(tree(&live), new);
    assert!(matches!(swap.exchange(), Err(Error::Missing { .. })));
    for expected in [&old, &new] {
        assert_eq!(swap.exchange_back().unwrap(), Outcome::Made);
        assert_eq!(tree(&live), *expected);
    }
    assert_eq!(swap.both(), (false, true));
    assert_eq!(swap.discard(), (Outcome::AlreadySo, Outcome::Made));
    assert!(matches!(swap.exchange_back(), Err(Error::Missing { .. })));
    assert_eq!(tree(&live), new);
}

/// Runs `act` with the power cut after `n` acts; false if it came to its end.
fn is_cut(n: u32, act: impl FnOnce()) -> bool {
    cut::after(Some(n));
    let cut = catch_unwind(AssertUnwindSafe(act)).is_err();
    cut::after(None);
    cut
}

fn survives_a_cut_after_every_act<S: Swap>() {
    let mut swapped_after_a_cut = 0;
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join(S::LIVE);
        let [old, new] = set_up::<S>(dir.path());
        let cut = is_cut(n, || {
            S::at(dir.path()).exchange().unwrap();
        });
        // A second cut, in the middle of recovering.
        is_cut(n / 2, || {
            S::at(dir.path()).recover().unwrap();
        });
        let swap = S::at(dir.path());
        let (_, is_known) = swap.both();
        if swap.recover().unwrap() == Outcome::Made {
            assert!(is_known, "cut {n}: nobody knows of the old tree");
        }
        assert_eq!(swap.recover().unwrap(), Outcome::AlreadySo);
        let now = tree(&live);
        match swap.both() {
            (true, _) => {
                assert_eq!(
                    now, old,
                    "cut {n}: the old tree is whole while the new one waits"
                );
                swap.exchange().unwrap();
            }
            (false, true) => {
                swapped_after_a_cut += u32::from(cut);
                assert_eq!(now, new, "cut {n}");
            }
            lost => panic!("cut {n}: {lost:?}"),
        }
        assert_eq!(tree(&live), new, "cut {n}");
        swap.exchange_back().unwrap();
        assert_eq!(tree(&live), old, "cut {n}: the old tree is kept");
        if !cut {
            assert!(n > 4 && swapped_after_a_cut > 2, "the cuts hit nothing");
            return;
        }
    }
}

fn undoing_survives_a_cut_after_every_act<S: Swap>() {
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join(S::LIVE);
        let [old, new] = set_up::<S>(dir.path());
        S::at(dir.path()).exchange().unwrap();
        let cut = is_cut(n, || {
            S::at(dir.path()).exchange_back().unwrap();
        });
        let swap = S::at(dir.path());
        swap.recover().unwrap();
        if tree(&live) == new {
            swap.exchange_back().unwrap();
        }
        assert_eq!(tree(&live), old, "cut {n}");
        swap.exchange_back().unwrap();
        assert_eq!(tree(&live), new, "cut {n}");
        if !cut {
            return;
        }
    }
}

/// What a boot does, as often as it takes; says how many of them were cut.
fn boots<S: Swap>(top: &Path, n: u32) -> u32 {
    let boot = || {
        let swap = S::at(top);
        let recovered = swap.recover().unwrap();
        match swap.waiting().unwrap() {
            Some(_) => swap.exchange_waiting().unwrap(),
            None => recovered,
        };
    };
    let mut times = 0;
    // Cut ever later, so that it comes to its end.
    while is_cut(n + times, boot) {
        times += 1;
    }
    times
}

fn a_tree_that_waits_survives_a_cut_after_every_act<S: Swap>() {
    for incoming in Incoming::ALL {
        let mut most = 0;
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let live = dir.path().join(S::LIVE);
            let [old, new] = set_up::<S>(dir.path());
            let (mut before, mut after) = (old, new);
            if incoming == Incoming::Replaced {
                S::at(dir.path()).exchange().unwrap();
                std::mem::swap(&mut before, &mut after);
            }
            // While it is asked for: it waits or it does not.
            let cut = is_cut(n, || {
                S::at(dir.path()).postpone(incoming).unwrap();
            });
            assert_eq!(tree(&live), before, "cut {n}");
            if S::at(dir.path()).waiting().unwrap().is_none() {
                assert!(cut);
                S::at(dir.path()).postpone(incoming).unwrap();
            }
            let times = boots::<S>(dir.path(), n);
            most = most.max(times);
            assert_eq!(tree(&live), after, "cut {n}");
            let mut swap = S::at(dir.path());
            assert_eq!(swap.both(), (false, true), "cut {n}");
            assert_eq!(swap.waiting().unwrap(), None);
            // And back, by a boot that is cut in the same place.
            swap.postpone(Incoming::Replaced).unwrap();
            boots::<S>(dir.path(), n);
            assert_eq!(tree(&live), before, "cut {n}: the old tree is kept");
            if !cut && times == 0 {
                break;
            }
        }
        assert!(most > 3, "the cuts hit nothing: {most}");
    }
}

#[test]
fn a_directory_that_waits_survives_a_cut_after_every_act() {
    a_tree_that_waits_survives_a_cut_after_every_act::<Sibling>();
}

#[test]
fn children_that_wait_survive_a_cut_after_every_act() {
    a_tree_that_waits_survives_a_cut_after_every_act::<Children>();
}

#[test]
fn a_directory_is_swapped_there_and_back() {
    swaps_there_and_back::<Sibling>();
}

#[test]
fn children_are_swapped_there_and_back() {
    swaps_there_and_back::<Children>();
}

#[test]
fn a_directory_survives_a_cut_after_every_act() {
    survives_a_cut_after_every_act::<Sibling>();
    undoing_survives_a_cut_after_every_act::<Sibling>();
}

#[test]
fn children_survive_a_cut_after_every_act() {
    survives_a_cut_after_every_act::<Children>();
    undoing_survives_a_cut_after_every_act::<Children>();
}

#[test]
fn a_store_that_does_not_exist_yet_is_simply_put_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let swap = Sibling::at(dir.path());
    drop(Swap::stage(&swap).unwrap());
    assert_eq!(Swap::exchange(&swap).unwrap(), Outcome::Made);
    assert!(dir.path().join("a store").is_dir());
    assert_eq!(swap.both(), (false, false));
}

#[test]
fn foreign_journals_stop_everything() {
    let dir = tempfile::tempdir().unwrap();
    set_up::<Sibling>(dir.path());
    let journal = dir.path().join(".a store.state-journal");
    for text in [
        "",
        "exchange 2 1 2\n",
        "exchange 1 1\n",
        "exchange 1 1 2 3\n",
    ] {
        fs::write(&journal, text).unwrap();
        let error = Sibling::at(dir.path()).recover().unwrap_err();
        assert!(
            matches!(error, Error::Malformed { .. }),
            "{text:?}: {error}"
        );
    }
    fs::write(&journal, "exchange 1 1 2\n").unwrap();
    Sibling::at(dir.path()).recover().unwrap_err();
    assert_eq!(
        fs::read_to_string(dir.path().join("a store/plain file")).unwrap(),
        "old"
    );
}
