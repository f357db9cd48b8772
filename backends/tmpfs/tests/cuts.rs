//! The plans on a simulated disk whose power fails at every instant: after every act and in the
//! middle of those that are not one act, with every suffix of what is not committed lost.

use state_api::{
    Apply as _, Error, Identity, Outcome, PastRootName, Reset, Result, Retire, RootBackend as _,
    Source, View,
};
use state_tmpfs::{Kernel, Mounted, Node, Origin, Step, Tmpfs, Tree, Write};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is under a name: how much of what, and the number of a captured root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    content: &'static str,
    is_whole: bool,
    origin: Option<u64>,
}

type Names = BTreeMap<PathBuf, Thing>;

#[derive(Debug, Default)]
struct Disk {
    names: Names,
    /// Every state since the last commit that the disk may be left in.
    since: Vec<Names>,
    /// Every state that it could have been left in so far.
    instants: Vec<Names>,
}

impl Disk {
    fn now(&mut self) {
        self.since.push(self.names.clone());
        self.instants.extend(self.since.iter().cloned());
    }
}

/// Root holds this, or nothing.
#[derive(Debug, Clone)]
struct Sim {
    disk: Rc<RefCell<Disk>>,
    root: Option<&'static str>,
    at_sysroot: bool,
    exchanges: bool,
}

impl Sim {
    fn new(names: Names, root: Option<&'static str>) -> Self {
        let disk = Disk {
            since: vec![names.clone()],
            names,
            instants: Vec::new(),
        };
        Self {
            disk: Rc::new(RefCell::new(disk)),
            root,
            at_sysroot: root.is_none(),
            exchanges: true,
        }
    }

    fn put(&self, at: &Path, thing: Thing) {
        let mut disk = self.disk.borrow_mut();
        disk.names.insert(at.to_owned(), thing);
        disk.now();
    }

    fn get(&self, at: &Path) -> Option<Thing> {
        self.disk.borrow().names.get(at).cloned()
    }

    /// Built elsewhere, on the disk, and renamed.
    fn build(&self, in_: &str, at: &Path, content: &'static str, origin: Option<u64>) {
        let mut thing = Thing {
            content,
            is_whole: false,
            origin: None,
        };
        self.put(Path::new(in_), thing.clone());
        thing.is_whole = true;
        thing.origin = origin;
        self.put(Path::new(in_), thing.clone());
        let mut disk = self.disk.borrow_mut();
        disk.since = vec![disk.names.clone()];
        disk.names.remove(Path::new(in_));
        disk.names.insert(at.to_owned(), thing);
        disk.now();
    }
}

impl Kernel for Sim {
    fn mounted(&self) -> Result<Mounted> {
        Ok(Mounted {
            at: if self.at_sysroot { "/sysroot" } else { "/" }.into(),
            filesystem: Some("tmpfs".into()),
            mode: 0o755,
            size_bytes: None,
            declared_size: None,
            stores: Vec::new(),
        })
    }
    fn is_empty(&self) -> Result<bool> {
        Ok(self.root.is_none())
    }
    fn blank_name(&self) -> Option<String> {
        Some("disk:/blank".into())
    }
    fn tree(&self, at: &Path) -> Result<Option<Tree>> {
        Ok(self.get(at).map(|thing| Tree {
            identity: Identity(thing.content.into()),
            made_at: None,
            has_init: true,
        }))
    }
    fn node(&self, path: &Path) -> Result<Node> {
        if path == Path::new("past-roots") || path == Path::new("past-roots/.scratch") {
            return Ok(Node::Directory);
        }
        Ok(match self.get(path) {
            None => Node::Missing,
            Some(Thing {
                origin: Some(sequence),
                ..
            }) => Node::Captured(Origin { sequence }),
            Some(_) => Node::Directory,
        })
    }
    fn names(&self, dir: &Path) -> Result<Vec<String>> {
        let disk = self.disk.borrow();
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(inside.map(name).collect())
    }
    fn make_directory(&mut self, _: &Path) -> Result<Outcome> {
        Ok(Outcome::AlreadySo)
    }
    fn fill(&mut self) -> Result<()> {
        let blank = self.get(Path::new("blank")).expect("a blank to fill from");
        assert!(blank.is_whole, "root is never filled from half a blank");
        self.root = Some(blank.content);
        Ok(())
    }
    fn copy_root(&mut self, to: &Path) -> Result<()> {
        let root = self.root.expect("a root to copy");
        self.build("blank.building", to, root, None);
        Ok(())
    }
    fn capture(&mut self, at: &Path, origin: &Origin, _: Write<'_>) -> Result<()> {
        let building = "past-roots/.scratch/building";
        self.build(
            building,
            at,
            self.root.expect("a root"),
            Some(origin.sequence),
        );
        Ok(())
    }
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let mut disk = self.disk.borrow_mut();
        assert!(!disk.names.contains_key(to), "{} exists", to.display());
        let thing = disk.names.remove(from).ok_or(Error::Missing {
            what: from.display().to_string(),
        })?;
        disk.names.insert(to.to_owned(), thing);
        disk.now();
        Ok(())
    }
    fn exchange(&mut self, a: &Path, b: &Path) -> Result<bool> {
        if self.exchanges {
            let mut disk = self.disk.borrow_mut();
            let mut take = |at: &Path| disk.names.remove(at).expect("both are there");
            let (was_a, was_b) = (take(a), take(b));
            disk.names.insert(a.to_owned(), was_b);
            disk.names.insert(b.to_owned(), was_a);
            disk.now();
        }
        Ok(self.exchanges)
    }
    fn remove(&mut self, at: &Path) -> Result<Outcome> {
        let Some(mut thing) = self.get(at) else {
            return Ok(Outcome::AlreadySo);
        };
        thing.is_whole = false;
        self.put(at, thing);
        let mut disk = self.disk.borrow_mut();
        disk.names.remove(at);
        disk.now();
        Ok(Outcome::Made)
    }
    fn mark(&mut self, _: &Path, _: bool) -> Result<Outcome> {
        unreachable!("nothing is pinned here")
    }
    fn commit(&mut self) -> Result<()> {
        let mut disk = self.disk.borrow_mut();
        disk.since = vec![disk.names.clone()];
        Ok(())
    }
    fn open_root(&self) -> Result<View> {
        unreachable!("nothing is read here")
    }
    fn open_blank(&self) -> Result<View> {
        unreachable!("nothing is read here")
    }
    fn open_captured(&self, _: &Path, _: &Path) -> Result<View> {
        unreachable!("nothing is read here")
    }
}

fn carry_out(on: &mut Tmpfs<Sim>, steps: &[Step]) {
    for step in steps {
        on.apply(step)
            .unwrap_or_else(|error| panic!("{step}: {error}"));
    }
}

fn take(on: &mut Tmpfs<Sim>) {
    let plan = on.plan_take_blank(&on.survey().unwrap()).unwrap();
    carry_out(on, &plan.steps);
}

/// What root holds after a boot with this disk, and the disk then.
fn boot(names: Names) -> (&'static str, Names) {
    let sim = Sim::new(names, None);
    let mut on = Tmpfs::new(sim.clone()).to_be_filled();
    let ask = Reset {
        retire: Retire::GiveUp,
        source: Some(Source::Blank),
        needs_init: true,
    };
    let plan = on.plan_reset(&on.survey().unwrap(), &ask).unwrap();
    carry_out(&mut on, &plan.steps);
    let names = sim.disk.borrow().names.clone();
    (on.kernel().root.unwrap(), names)
}

fn whole(content: &'static str) -> Thing {
    Thing {
        content,
        is_whole: true,
        origin: None,
    }
}

/// The disk after the blanks `a` and `b` were taken, in this order.
fn two_blanks() -> Names {
    [("blank", "b"), ("blank-previous", "a")]
        .map(|(at, content)| (at.into(), whole(content)))
        .into()
}

#[test]
fn a_cut_while_a_blank_is_taken_leaves_one_and_the_next_run_finishes() {
    let sim = Sim::new(two_blanks(), Some("c"));
    take(&mut Tmpfs::new(sim.clone()));
    let expected: Names = [("blank", "c"), ("blank-previous", "b")]
        .map(|(at, content)| (at.into(), whole(content)))
        .into();
    assert_eq!(sim.disk.borrow().names, expected);

    let instants = std::mem::take(&mut sim.disk.borrow_mut().instants);
    assert!(instants.len() > 15, "{}", instants.len());
    let mut seen = [0, 0];
    for cut in instants {
        let is_kept = cut.values().any(|thing| *thing == whole("b"));
        assert!(is_kept, "the blank that was there is gone: {cut:?}");
        let (root, after) = boot(cut.clone());
        match root {
            "b" => seen[0] += 1,
            "c" => seen[1] += 1,
            other => panic!("{other} was started from {cut:?}"),
        }
        // A cut in the next run is no other than one in the first.
        let again = Sim::new(after, Some("d"));
        take(&mut Tmpfs::new(again.clone()));
        for second in &again.disk.borrow().instants {
            boot(second.clone());
        }
        let mut on = Tmpfs::new(again.clone());
        let plan = on.plan_tidy(&on.survey().unwrap()).unwrap();
        carry_out(&mut on, &plan.steps);
        let names = again.disk.borrow().names.clone();
        let blanks = ["blank", "blank-previous"];
        assert_eq!(
            names
                .keys()
                .map(|path| path.to_str().unwrap())
                .collect::<Vec<_>>(),
            blanks
        );
        assert_eq!(names[Path::new("blank")], whole("d"));
        assert_eq!(names[Path::new("blank-previous")], whole(root));
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// Captures root twice under one name, after every act of which the power fails; whether an instant
/// after the first was whole has no past root.
fn capture_with_cuts(exchanges: bool) -> bool {
    let name: PastRootName = "20261121T113705Z-6d3f20c1".parse().unwrap();
    let sim = Sim {
        exchanges,
        ..Sim::new(two_blanks(), Some("small"))
    };
    let mut on = Tmpfs::new(sim.clone());
    let look = || {
        let instants = std::mem::take(&mut sim.disk.borrow_mut().instants);
        let mut is_missed = false;
        for cut in instants {
            let after = Sim {
                exchanges,
                ..Sim::new(cut.clone(), Some("next"))
            };
            let mut on = Tmpfs::new(after.clone());
            let found = on.facts(&on.survey().unwrap()).past_roots;
            is_missed |= found.is_empty();
            for past in found {
                let at = Path::new("past-roots").join(past.name.as_str());
                assert!(cut[&at].is_whole, "{cut:?}");
            }
            let other: PastRootName = "20261122T113705Z-00000000".parse().unwrap();
            on.capture(&other, &mut |_| Ok(())).unwrap();
            let names = after.disk.borrow().names.clone();
            let left = names
                .keys()
                .filter(|path| path.starts_with("past-roots/.scratch"));
            assert_eq!(left.count(), 0, "{names:?}");
        }
        is_missed
    };
    on.capture(&name, &mut |_| Ok(())).unwrap();
    assert!(look(), "before it was captured");
    on.capture(&name, &mut |_| Ok(())).unwrap();
    let facts = on.facts(&on.survey().unwrap());
    assert_eq!(facts.past_roots.len(), 1);
    let is_missed = look();
    let plan = on.plan_delete(&on.survey().unwrap(), &name).unwrap();
    carry_out(&mut on, &plan.steps);
    assert!(look(), "it was deleted");
    is_missed
}

#[test]
fn a_cut_while_root_is_captured_leaves_nothing_half_and_what_was_captured_by_then() {
    assert!(!capture_with_cuts(true));
}

#[test]
fn where_names_cannot_be_exchanged_it_leaves_nothing_half() {
    assert!(capture_with_cuts(false), "the moment between two renames");
}
