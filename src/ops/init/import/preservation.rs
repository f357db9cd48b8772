//! `preservation` as nix-community/preservation has it, or its `preserveAt` alone.

use super::list::{Item, List, Words};
use super::mode::{self, Tmpfiles};
use super::node::Node;
use crate::failure::Failure;
use crate::persist::EntryKind;
use crate::settings::Method;
use std::path::PathBuf;

const MACHINE_ID: &str = "/etc/machine-id";

/// What every bind mount of an entry is, or has no need to be told.
const IMPLIED: &[&str] = &["bind", "X-fstrim.notrim"];

const OF_STORE: &[&str] = &[
    "persistentStoragePath",
    "directories",
    "files",
    "users",
    "commonMountOptions",
];
const OF_USER: &[&str] = &[
    "username",
    "home",
    "directories",
    "files",
    "commonMountOptions",
    "homeMode",
    "homeGroup",
];
const OF_ENTRY: &[&str] = &[
    "directory",
    "file",
    "how",
    "user",
    "group",
    "mode",
    "configureParent",
    "parent",
    "mountOptions",
    "createLinkTarget",
    "copyBack",
    "inInitrd",
];

pub(super) fn read(top: &Node<'_>, list: &mut List) -> Result<(), Failure> {
    let stores = match top.get("preserveAt")? {
        Some(stores) => {
            if top.flag("enable")? == Some(false) {
                let what = "`enable = false`: its lists are brought over all the same";
                list.leave_out("preservation", what);
            }
            for option in top.others(&["enable", "preserveAt"]) {
                list.leave_out("preservation", format!("`{option}`: not known here"));
            }
            stores
        }
        None => top.clone(),
    };
    for (name, store) in stores.members()? {
        self::store(name, &store, list)?;
    }
    Ok(())
}

fn store(name: &str, node: &Node<'_>, list: &mut List) -> Result<(), Failure> {
    let name = node.text("persistentStoragePath")?.unwrap_or(name);
    let path = list.store(name)?;
    for option in node.others(OF_STORE) {
        list.leave_out(name, format!("`{option}`: not known here"));
    }
    let of = Of {
        store: path,
        common: options(node, "commonMountOptions")?,
        user: None,
        group: Some("root"),
    };
    entries(node, &of, list)?;
    let Some(users) = node.get("users")? else {
        return Ok(());
    };
    for (name, user) in users.members()? {
        for option in user.others(OF_USER) {
            list.leave_out(
                format!("users.{name}"),
                format!("`{option}`: not known here"),
            );
        }
        let mut common = options(&user, "commonMountOptions")?;
        common.extend(of.common.iter().cloned());
        let of = Of {
            store: of.store.clone(),
            common,
            user: Some((user.text("username")?.unwrap_or(name), user.text("home")?)),
            group: user.text("homeGroup")?,
        };
        entries(&user, &of, list)?;
    }
    Ok(())
}

/// What a list's entries have in common.
struct Of<'a> {
    store: PathBuf,
    /// Mount options.
    common: Vec<String>,
    user: Option<(&'a str, Option<&'a str>)>,
    /// The user's own group, if it is known.
    group: Option<&'a str>,
}

fn entries<'a>(node: &Node<'a>, of: &Of<'a>, list: &mut List) -> Result<(), Failure> {
    for (kind, key, name) in [
        (EntryKind::Directory, "directories", "directory"),
        (EntryKind::File, "files", "file"),
    ] {
        for node in node.list(key)? {
            let path = match node.as_text() {
                Some(path) => path,
                None => node.needed(name)?,
            };
            // A directory on the way to another, which is made as it must be.
            let is_on_the_way = node.as_text().is_none()
                && node.text("how")?.is_some_and(|how| how == "_intermediate");
            if !is_on_the_way {
                let item = item(&node, kind, path, of)?;
                list.add(item);
            }
        }
    }
    Ok(())
}

fn item<'a>(
    node: &Node<'a>,
    kind: EntryKind,
    path: &'a str,
    of: &Of<'a>,
) -> Result<Item<'a>, Failure> {
    let mut item = Item {
        kind,
        store: of.store.clone(),
        path,
        user: of.user,
        owner: None,
        group: None,
        usual_group: of.group,
        mode: None,
        usual_mode: match kind {
            EntryKind::Directory => 0o755,
            EntryKind::File => 0o644,
        },
        method: Method::Bind,
        early: false,
        words: Words::default(),
        left_out: Vec::new(),
    };
    let mut mounts = of.common.clone();
    if node.as_text().is_none() {
        mounts.extend(options(node, "mountOptions")?);
        said(node, &mut item)?;
    }
    if item.method == Method::Bind {
        mounts.sort();
        mounts.dedup();
        for option in mounts {
            match option.as_str() {
                "x-gvfs-hide" => item.words.hide_mounts = true,
                "x-gvfs-trash" => item.words.allow_trash = true,
                implied if IMPLIED.contains(&implied) => {}
                other => item
                    .left_out
                    .push(format!("the mount option {other}: entries have none here")),
            }
        }
    }
    Ok(item)
}

/// What is said of an entry beside its path.
fn said<'a>(node: &Node<'a>, item: &mut Item<'a>) -> Result<(), Failure> {
    item.owner = node.text("user")?;
    item.group = node.text("group")?;
    item.early = node.flag("inInitrd")?.unwrap_or(false);
    if let Some(text) = node.text("mode")? {
        match mode::of_tmpfiles(text) {
            Tmpfiles::Default => {}
            Tmpfiles::Mode(mode) => item.mode = Some(mode),
            Tmpfiles::Strange => item
                .left_out
                .push(format!("the mode {text:?}: not a mode by itself")),
        }
    }
    match node.text("how")? {
        None | Some("bindmount") => {}
        Some("symlink") if item.path == MACHINE_ID => item.left_out.push(
            "`how = \"symlink\"`: the machine id is written into root before anything reads it"
                .into(),
        ),
        Some("symlink") => {
            item.method = Method::Symlink;
            let is_made = node.flag("createLinkTarget")?.unwrap_or(false);
            if item.kind == EntryKind::File && !is_made {
                item.left_out.push(
                    "a link that leads nowhere: a file that the store does not hold is made, empty"
                        .into(),
                );
            }
        }
        Some("copy") if item.kind == EntryKind::File && item.path != MACHINE_ID => {
            item.method = Method::Copy;
        }
        Some(other) => item
            .left_out
            .push(format!("`how = {other:?}`: it becomes a bind mount")),
    }
    if node.flag("copyBack")? == Some(false) {
        item.left_out
            .push("`copyBack = false`: what is kept is kept".into());
    }
    if node.flag("configureParent")? == Some(true)
        && let Some(parent) = node.get("parent")?
    {
        item.left_out.extend(odd_parent(&parent, item)?);
    }
    for option in node.others(OF_ENTRY) {
        item.left_out.push(format!("`{option}`: not known here"));
    }
    Ok(())
}

/// What is said of the directory around an entry, if it is not what is done anyway.
fn odd_parent(parent: &Node<'_>, item: &Item<'_>) -> Result<Option<String>, Failure> {
    let owner = item.user.map_or("root", |(name, _)| name);
    let mut odd = Vec::new();
    for (key, usual) in [
        ("user", Some(owner)),
        ("group", item.usual_group),
        ("mode", Some("0755")),
    ] {
        if let Some(said) = parent.text(key)?
            && usual.is_some_and(|usual| usual != said)
        {
            odd.push(format!("{key} {said}"));
        }
    }
    Ok((!odd.is_empty()).then(|| super::of_parent(&odd)))
}

/// Mount options as mount(8) takes them: each a string, or an object with a name and a value.
fn options(node: &Node<'_>, key: &str) -> Result<Vec<String>, Failure> {
    let option = |node: Node<'_>| match node.as_text() {
        Some(option) => Ok(option.to_owned()),
        None => {
            let name = node.needed("name")?;
            Ok(match node.text("value")? {
                Some(value) => format!("{name}={value}"),
                None => name.to_owned(),
            })
        }
    };
    node.list(key)?.into_iter().map(option).collect()
}
