//! `environment.persistence` as nix-community/impermanence has had it: strings, strings and
//! objects, and what the options of 2022 to today evaluate to. `home.persistence` of its
//! home-manager module has the same form.

use super::list::{Item, List, Words};
use super::mode;
use super::node::Node;
use crate::failure::Failure;
use crate::persist::EntryKind;
use crate::settings::Method;
use std::path::{Path, PathBuf};

const USUAL_MODE: u32 = 0o755;

const OF_STORE: &[&str] = &[
    "enable",
    "persistentStoragePath",
    "directories",
    "files",
    "users",
    "hideMounts",
    "allowTrash",
];
/// Nothing of what is kept: messages of the module, and settings of its scripts.
const OF_THE_MODULE: &[&str] = &[
    "assertions",
    "enableDebugging",
    "enableWarnings",
    "defaultPerms",
    "dirPath",
    "filePath",
    "_module",
];
const OF_DIRECTORY: &[&str] = &[
    "directory",
    "persistentStoragePath",
    "home",
    "user",
    "group",
    "mode",
    "hideMount",
    "allowTrash",
    "method",
];
const OF_FILE: &[&str] = &[
    "file",
    "persistentStoragePath",
    "home",
    "method",
    "parentDirectory",
];

pub(super) fn read(top: &Node<'_>, list: &mut List) -> Result<(), Failure> {
    if top.get("preserveAt")?.is_some() {
        return Err(Failure::usage("it is a list of preservation")
            .hint("`state init --from preservation FILE`"));
    }
    for (name, store) in top.members()? {
        self::store(name, &store, list)?;
    }
    Ok(())
}

fn store(name: &str, node: &Node<'_>, list: &mut List) -> Result<(), Failure> {
    let path = node.text("persistentStoragePath")?.unwrap_or(name);
    if node.flag("enable")? == Some(false) {
        let entries = node.list("directories")?.len() + node.list("files")?.len();
        let what = format!("the whole store, it is switched off (entries: {entries})");
        list.leave_out(path, what);
        return Ok(());
    }
    let store = list.store(path)?;
    let words = Words {
        hide_mounts: node.flag("hideMounts")?.unwrap_or(false),
        allow_trash: node.flag("allowTrash")?.unwrap_or(false),
    };
    if let Some(other) = list.words.insert(store.clone(), words)
        && other != words
    {
        list.leave_out(
            path,
            "`hideMounts` and `allowTrash` of its first part: it is listed twice",
        );
    }
    for option in node.others(&[OF_STORE, OF_THE_MODULE].concat()) {
        list.leave_out(path, format!("`{option}`: not known here"));
    }
    let store = Store { path: store, words };
    if let Some(users) = node.get("users")? {
        for (name, of) in users.members()? {
            let user = Some((name, of.text("home")?));
            for option in of.others(&[&["home", "directories", "files"], OF_THE_MODULE].concat()) {
                list.leave_out(
                    format!("users.{name}"),
                    format!("`{option}`: not known here"),
                );
            }
            entries(&of, user, &store, list)?;
        }
    }
    entries(node, None, &store, list)
}

struct Store {
    path: PathBuf,
    words: Words,
}

type User<'a> = Option<(&'a str, Option<&'a str>)>;

fn entries<'a>(
    node: &Node<'a>,
    user: User<'a>,
    store: &Store,
    list: &mut List,
) -> Result<(), Failure> {
    for node in node.list("directories")? {
        let item = match node.as_text() {
            Some(path) => plain(EntryKind::Directory, path, user, store),
            None => directory(&node, user, store, list)?,
        };
        add(item, user, list);
    }
    for node in node.list("files")? {
        let item = match node.as_text() {
            Some(path) => plain(EntryKind::File, path, user, store),
            None => file(&node, user, store, list)?,
        };
        add(item, user, list);
    }
    Ok(())
}

/// The module joined the users' lists to the machine's until 2025: those are there already.
fn add(item: Item<'_>, user: User<'_>, list: &mut List) {
    let path = list.absolute(item.path, item.user);
    if user.is_some() || !list.has_of_user(&item.store, &path) {
        list.add(item);
    }
}

impl List {
    fn has_of_user(&self, store: &Path, path: &Path) -> bool {
        let is_of_user = || {
            let mut homes = self.homes.values();
            homes.any(|home| path.starts_with(home))
        };
        is_of_user() && self.has(store, path)
    }
}

fn plain<'a>(kind: EntryKind, path: &'a str, user: User<'a>, store: &Store) -> Item<'a> {
    Item {
        kind,
        store: store.path.clone(),
        path,
        user,
        owner: None,
        group: None,
        usual_group: None,
        mode: None,
        usual_mode: match kind {
            EntryKind::Directory => USUAL_MODE,
            EntryKind::File => 0o644,
        },
        method: Method::Bind,
        early: false,
        words: store.words,
        left_out: Vec::new(),
    }
}

/// Whose home an entry is in: it says the home, and what the user's things are like.
fn user_of<'a>(node: &Node<'a>, directory: &Node<'a>, user: User<'a>) -> Result<User<'a>, Failure> {
    let Some(home) = node.text("home")? else {
        return Ok(user);
    };
    let usual = directory.get("defaultPerms")?;
    let name = match (user, usual) {
        (Some((name, _)), _) => Some(name),
        (None, Some(usual)) => usual.text("user")?,
        (None, None) => directory.text("user")?,
    };
    Ok(name.map(|name| (name, Some(home))))
}

fn other_store(node: &Node<'_>, store: &Store, list: &mut List) -> Result<PathBuf, Failure> {
    match node.text("persistentStoragePath")? {
        Some(path) => list.store(path),
        None => Ok(store.path.clone()),
    }
}

fn directory<'a>(
    node: &Node<'a>,
    user: User<'a>,
    store: &Store,
    list: &mut List,
) -> Result<Item<'a>, Failure> {
    let path = node.needed("directory")?;
    let usual_group = match node.get("defaultPerms")? {
        Some(usual) => usual.text("group")?,
        None => None,
    };
    let mut item = Item {
        store: other_store(node, store, list)?,
        owner: node.text("user")?,
        group: node.text("group")?,
        usual_group,
        words: Words {
            hide_mounts: node.flag("hideMount")?.unwrap_or(store.words.hide_mounts),
            allow_trash: node.flag("allowTrash")?.unwrap_or(store.words.allow_trash),
        },
        ..plain(
            EntryKind::Directory,
            path,
            user_of(node, node, user)?,
            store,
        )
    };
    if let Some(text) = node.text("mode")? {
        item.mode = mode::of_chmod(text);
        if item.mode.is_none() {
            item.left_out.push(format!(
                "the mode {text:?}: it depends on a umask, or is none"
            ));
        }
    }
    if let Some(method) = node.text("method")?.filter(|method| *method != "bindfs") {
        item.left_out.push(format!(
            "`method = {method:?}`: a directory is a bind mount"
        ));
    }
    others(node, OF_DIRECTORY, &mut item);
    Ok(item)
}

fn file<'a>(
    node: &Node<'a>,
    user: User<'a>,
    store: &Store,
    list: &mut List,
) -> Result<Item<'a>, Failure> {
    let path = node.needed("file")?;
    let parent = node.get("parentDirectory")?;
    let user = match &parent {
        Some(parent) => user_of(node, parent, user)?,
        None => user,
    };
    let mut item = Item {
        store: other_store(node, store, list)?,
        ..plain(EntryKind::File, path, user, store)
    };
    match node.text("method")? {
        None | Some("auto") => {}
        Some("symlink") => item.method = Method::Symlink,
        Some(other) => item
            .left_out
            .push(format!("`method = {other:?}`: not known here")),
    }
    if let Some(parent) = parent {
        item.left_out.extend(odd_parent(&parent, user)?);
    }
    others(node, OF_FILE, &mut item);
    Ok(item)
}

fn others(node: &Node<'_>, known: &[&str], item: &mut Item<'_>) {
    for option in node.others(&[known, OF_THE_MODULE].concat()) {
        item.left_out.push(format!("`{option}`: not known here"));
    }
}

/// What is said of the directory around a file, if it is not what is done anyway.
fn odd_parent(parent: &Node<'_>, user: User<'_>) -> Result<Option<String>, Failure> {
    let usual = parent.get("defaultPerms")?;
    let usual = |key: &str, otherwise: &'static str| match &usual {
        Some(usual) => Ok(usual.text(key)?.map(str::to_owned)),
        None => Ok(Some(otherwise.to_owned())),
    };
    let mut odd = Vec::new();
    let owner = user.map_or("root".to_owned(), |(name, _)| name.to_owned());
    for (key, usual) in [
        ("user", Some(owner)),
        ("group", usual("group", "root")?),
        ("mode", usual("mode", "0755")?),
    ] {
        if let Some(said) = parent.text(key)?
            && usual.as_deref().is_some_and(|usual| usual != said)
        {
            odd.push(format!("{key} {said}"));
        }
    }
    Ok((!odd.is_empty()).then(|| super::of_parent(&odd)))
}
