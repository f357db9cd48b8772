//! Bringing what is kept into the store.

use super::step::MakeDirectory;
use crate::anchor::Anchor;
use crate::bring::{self, Expects};
use crate::context::Context;
use crate::copy::Copied;
use crate::inventory;
use crate::paths::Shown;
use crate::persist::Anchors;
use crate::progress::{Total, Unit, Watch};
use crate::quarantine::{Batch, DAYS, Why};
use crate::view;
use rustix::fs::{RenameFlags, fsync, renameat_with};
use state_api::{Error, Graft, Result, View};
use state_linux::stat::{Kind, Stat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

/// How much is brought, as far as looking at it has told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// The space that it takes.
    pub(super) bytes: u64,
    /// How many things it is.
    pub(super) entries: u64,
}

impl Size {
    pub(super) fn add(&mut self, stat: &Stat) {
        self.bytes += stat.share_bytes();
        self.entries += 1;
    }
}

/// Makes a directory in a store.
pub(super) fn make_directory(anchors: &Anchors, made: &MakeDirectory) -> Result<()> {
    let making = |error| Error::os(format!("making {}", Shown(&made.path)), error);
    let (anchor, rest) = anchors.locate(&made.path)?;
    let (parent, name) = anchor.parent(rest).map_err(making)?;
    let is = made.ownership;
    parent
        .make_directory(name, is.uid, is.gid, is.mode)
        .map_err(making)?;
    fsync(parent.as_fd()).map_err(|errno| making(errno.into()))
}

/// Moves what the store holds at `source` into its quarantine, and says so.
pub(super) fn quarantine(cx: &Context, anchors: &Anchors, source: &Path) -> Result<String> {
    let (store, rest) = anchors.locate(source)?;
    let batch = Batch::begin(store, (cx.now, DAYS, Why::Orphan), vec![rest.to_owned()])?;
    batch.take(store, rest)?;
    let name = &batch.name;
    Ok(format!(
        "what the store held there is in its quarantine {name} (`state orphans`)"
    ))
}

/// A view of `anchor` in which what is at `path` is whole, also if it is a volume of its own, as
/// systemd makes `/var/lib/machines`.
fn view_with(anchor: &Anchor, path: &Path) -> io::Result<View> {
    let mut view = View::live(anchor.directory(Path::new(""))?.into());
    let (parent, name) = anchor.parent(path)?;
    let (around, stat) = (Stat::of_open(&parent)?, Stat::of(&parent, name)?);
    if stat.kind == Kind::Directory && stat.id.device != around.id.device {
        view.grafts.push(Graft {
            at: path.to_owned(),
            dir: anchor.directory(path)?.into(),
        });
    }
    Ok(view)
}

/// What is called `name` in `dir`, noted down. The flags of inodes are left out by the caller.
fn noted(dir: &Anchor, name: &OsStr, watch: Watch<'_>) -> Result<inventory::Inventory> {
    let opening = |error| Error::os("opening what was copied", error);
    let view = view_with(dir, Path::new(name)).map_err(opening)?;
    let is_other = |path: &Path| path.iter().next().is_some_and(|first| first != name);
    inventory::take(&view, &is_other, watch)
}

/// In what the two things of one name differ.
fn differences(
    (a, b): (&Anchor, &Anchor),
    name: &OsStr,
    size: Size,
    watch: Watch<'_>,
) -> Result<Vec<String>> {
    let total = Total::About(2 * size.entries);
    let doing = format!("comparing {} with its copy", Shown(Path::new(name)));
    let (a, b) = watch.stage(&doing, Unit::Items, total, || {
        (noted(a, name, watch), noted(b, name, watch))
    });
    let mut differences = a?.differences(&b?);
    // A directory of the store may hand flags down: they say how things are stored, not what.
    differences.retain(|line| !line.ends_with(": flags"));
    Ok(differences)
}

/// Whether the store holds exactly what is at `path`.
pub(super) fn is_same(
    anchors: &Anchors,
    (path, source): (&Path, &Path),
    size: Size,
    watch: Watch<'_>,
) -> Result<bool> {
    let looking = |error| Error::os(format!("comparing {}", Shown(path)), error);
    let (live, stored) = (anchors.locate(path)?, anchors.locate(source)?);
    let (live, name) = live.0.parent(live.1).map_err(looking)?;
    let (stored, _) = stored.0.parent(stored.1).map_err(looking)?;
    Ok(differences((&live, &stored), name, size, watch)?.is_empty())
}

/// Copies what is at `path` to `source`, where nothing is. It appears there once it is whole, on
/// the disk, and the same as what is at `path` then.
pub(super) fn bring_in(
    anchors: &Anchors,
    (path, source): (&Path, &Path),
    size: Size,
    watch: Watch<'_>,
) -> Result<Copied> {
    let opening = |error| Error::os(format!("opening {}", Shown(path)), error);
    let (root, rest) = anchors.locate(path)?;
    let view = view_with(root, rest).map_err(opening)?;
    let (live, _) = root.parent(rest).map_err(opening)?;
    let (store, below) = anchors.locate(source)?;
    let (to, name) = store.parent(below).map_err(opening)?;
    let doing = format!("copying {}", Shown(path));
    watch.stage(&doing, Unit::Bytes, Total::About(size.bytes), || {
        bring::stage(&view, rest, &to, watch, &|made, name_of_it| {
            let found = differences((&live, made), name_of_it, size, watch);
            if let Some(first) = found.map_err(io::Error::other)?.first() {
                let why = format!("it changed while it was copied: {first}");
                return Err(io::Error::other(why));
            }
            renameat_with(made, name_of_it, &to, name, RenameFlags::NOREPLACE)?;
            Ok(fsync(to.as_fd())?)
        })
    })
}

/// Copies the file at `path` to `source` in the place of the file that is there, which gets a
/// second name in the quarantine first.
pub(super) fn replace(
    cx: &Context,
    anchors: &Anchors,
    (path, source): (&Path, &Path),
    size: Size,
    watch: Watch<'_>,
) -> Result<(Copied, String)> {
    let opening = |error| Error::os(format!("opening {}", Shown(path)), error);
    let (root, rest) = anchors.locate(path)?;
    let view = View::live(root.directory(Path::new("")).map_err(opening)?.into());
    let (live, _) = root.parent(rest).map_err(opening)?;
    let (store, below) = anchors.locate(source)?;
    let (to, name) = store.parent(below).map_err(opening)?;
    let Some((_, was)) = view::here(store, below).map_err(opening)? else {
        let what = Shown(source).to_string();
        return Err(Error::Stale { what });
    };
    let batch = Batch::begin(store, (cx.now, DAYS, Why::Replaced), vec![below.to_owned()])?;
    batch.link(store, below)?;
    let is_whole = |made: &Anchor, name: &OsStr| {
        let found = differences((&live, made), name, size, watch);
        Ok(found.map_err(io::Error::other)?.is_empty())
    };
    let is_replaceable = |now: &Stat| now.kind == Kind::File && now.id == was.id;
    let expects = Expects {
        is_whole: &is_whole,
        is_replaceable: &is_replaceable,
    };
    let doing = format!("copying {}", Shown(path));
    let copied = watch.stage(&doing, Unit::Bytes, Total::About(size.bytes), || {
        bring::replace(&view, rest, (&to, name), &expects, watch)
    })?;
    let note = format!(
        "the store's older one is in its quarantine {} (`state orphans`)",
        batch.name
    );
    Ok((copied, note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::{PersistTree, Users};
    use crate::progress::heard::{Heard, Stage};
    use std::collections::BTreeMap;
    use std::fs;

    #[test]
    fn copying_and_comparing_say_how_far_they_are() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("persist/srv")).unwrap();
        fs::create_dir_all(at("srv/data/sub")).unwrap();
        fs::write(at("srv/data/a"), vec![7; 300_000]).unwrap();
        fs::write(at("srv/data/sub/z"), "x").unwrap();
        let text = "[persist.\"/persist\"]";
        let settings = crate::config::parse_text(Path::new("state.toml"), text).unwrap();
        let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
        let anchors = Anchors::open(root.path(), &tree, false, BTreeMap::new()).unwrap();
        let both = (Path::new("/srv/data"), Path::new("/persist/srv/data"));
        let mut size = Size::default();
        for path in ["srv/data", "srv/data/a", "srv/data/sub", "srv/data/sub/z"] {
            size.add(&Stat::of(rustix::fs::CWD, at(path)).unwrap());
        }

        let heard = Heard::default();
        let watch = Watch {
            interrupt: &state_api::Never,
            progress: &heard,
        };
        bring_in(&anchors, both, size, watch).unwrap();
        let stage = |doing: &str, done| Stage {
            doing: doing.into(),
            total: Total::About(done),
            done,
            path: "data/sub/z".into(),
        };
        let copying = stage("copying /srv/data", size.bytes);
        let comparing = stage("comparing data with its copy", 8);
        assert_eq!(heard.stages(), [copying, comparing.clone()]);
        let heard = Heard::default();
        let progress = &heard;
        assert!(is_same(&anchors, both, size, Watch { progress, ..watch }).unwrap());
        assert_eq!(heard.stages(), [comparing]);
    }
}
