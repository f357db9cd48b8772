//! Editing the lists of entries in a configuration's text: everything else of it stays as it is,
//! comments and order too. Pure.

mod root;

pub use root::{root_table, set_root};

use super::Error;
use crate::paths;
use crate::persist::EntryKind;
use crate::settings::Method;
use std::path::Path;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// An entry to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Where it is on the machine: absolute.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// How it is put in place.
    pub method: Method,
}

/// An entry as it is written somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// Where it is on the machine.
    pub path: &'a Path,
    /// The store that holds it.
    pub store: &'a Path,
    /// The home it lies in, for a user's entry.
    pub home: Option<&'a Path>,
}

impl NewEntry {
    fn value(&self) -> Value {
        if self.method == Method::default() {
            return self.path.as_str().into();
        }
        let mut table = InlineTable::new();
        table.insert("path", self.path.as_str().into());
        table.insert("method", word(self.method).into());
        table.into()
    }

    /// As Nix has it, for `services.state.persistence."STORE"`.
    pub fn nix(&self) -> String {
        let quoted = |text: &str| {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", escaped.replace("${", "\\${"))
        };
        let path = quoted(&self.path);
        match self.method == Method::default() {
            true => path,
            false => format!("{{ path = {path}; method = \"{}\"; }}", word(self.method)),
        }
    }
}

fn word(method: Method) -> &'static str {
    match method {
        Method::Bind => "bind",
        Method::Symlink => "symlink",
        Method::Copy => "copy",
    }
}

fn list_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "directories",
        EntryKind::File => "files",
    }
}

fn parse(text: &str) -> Result<DocumentMut, Error> {
    text.parse()
        .map_err(|error: toml_edit::TomlError| Error::one(error.message(), None))
}

/// `text` with `entry` at the end of the store's list.
///
/// # Errors
/// The text is no TOML, or what should be a table is none.
pub fn add(text: &str, store: &Path, entry: &NewEntry) -> Result<String, Error> {
    let mut document = parse(text)?;
    let odd = |what: &str| Error::one(format!("{what} is not what it should be"), None);
    if !document.contains_key("persist") {
        let mut persist = Table::new();
        persist.set_implicit(true);
        document.insert("persist", Item::Table(persist));
    }
    let persist = document["persist"].as_table_like_mut();
    let persist = persist.ok_or_else(|| odd("`persist`"))?;
    let is_store = |key: &str| paths::normal(Path::new(key)).is_ok_and(|key| key == store);
    let key = (persist.iter())
        .map(|(key, _)| key.to_owned())
        .find(|key| is_store(key))
        .unwrap_or_else(|| store.to_string_lossy().into_owned());
    if !persist.contains_key(&key) {
        persist.insert(&key, Item::Table(Table::new()));
    }
    let of_store = persist.get_mut(&key).and_then(Item::as_table_like_mut);
    let of_store = of_store.ok_or_else(|| odd("the store's table"))?;
    let name = list_name(entry.kind);
    if !of_store.contains_key(name) {
        of_store.insert(name, Array::new().into());
    }
    match of_store.get_mut(name) {
        Some(Item::Value(Value::Array(array))) => push(array, entry.value()),
        Some(Item::ArrayOfTables(tables)) => tables.push(as_table(entry)),
        _ => return Err(odd("the store's list")),
    }
    Ok(document.to_string())
}

/// `text` with these globs at the end of what `state diff` ignores.
///
/// # Errors
/// The text is no TOML, or what should be a list is none.
pub fn ignore(text: &str, globs: &[String]) -> Result<String, Error> {
    let mut document = parse(text)?;
    let odd = |what: &str| Error::one(format!("{what} is not what it should be"), None);
    let diff = document
        .entry("diff")
        .or_insert_with(|| Item::Table(Table::new()));
    let diff = diff.as_table_like_mut().ok_or_else(|| odd("`diff`"))?;
    let list = diff
        .entry("ignore")
        .or_insert_with(|| Array::new().into())
        .as_array_mut()
        .ok_or_else(|| odd("`diff.ignore`"))?;
    for glob in globs {
        if !list.iter().any(|known| known.as_str() == Some(glob)) {
            push(list, glob.as_str().into());
        }
    }
    Ok(document.to_string())
}

fn as_table(entry: &NewEntry) -> Table {
    let mut table = Table::new();
    table.insert("path", entry.path.as_str().into());
    if entry.method != Method::default() {
        table.insert("method", word(entry.method).into());
    }
    table
}

/// Adds a value at the end of a list, on a line of its own where the others have one. A comment
/// that follows the last value stays with it.
fn push(array: &mut Array, mut value: Value) {
    let trailing = array.trailing().as_str().unwrap_or_default().to_owned();
    let last = array
        .len()
        .checked_sub(1)
        .and_then(|last| array.get_mut(last));
    let Some(last) = last else {
        // What an empty list holds can be a comment alone.
        if trailing.contains('\n') {
            value
                .decor_mut()
                .set_prefix(format!("{}\n  ", trailing.trim_end()));
            array.set_trailing("\n");
            array.set_trailing_comma(true);
        }
        array.push_formatted(value);
        return;
    };
    let before = last.decor().prefix().and_then(|raw| raw.as_str());
    let before = before.unwrap_or_default().to_owned();
    let after = last.decor().suffix().and_then(|raw| raw.as_str());
    let after = after.unwrap_or_default().to_owned();
    last.decor_mut().set_suffix("");
    let rest = format!("{after}{trailing}");
    if rest.contains('\n') || before.contains('\n') {
        let indent = before.rsplit('\n').next().unwrap_or_default();
        let indent = match before.contains('\n') {
            true => indent,
            false => "  ",
        };
        let comment = rest.trim_end();
        value.decor_mut().set_prefix(format!("{comment}\n{indent}"));
        array.set_trailing("\n");
        array.set_trailing_comma(true);
    } else {
        value.decor_mut().set_prefix(" ");
        array.set_trailing(rest);
    }
    array.push_formatted(value);
}

/// `text` without the entry; `None`: it is not declared in this text.
///
/// # Errors
/// The text is no TOML.
pub fn remove(text: &str, entry: Written<'_>) -> Result<Option<String>, Error> {
    let mut document = parse(text)?;
    let persist = document
        .get_mut("persist")
        .and_then(Item::as_table_like_mut);
    let is_done = persist.is_some_and(|persist| remove_below(persist, entry));
    Ok(is_done.then(|| document.to_string()))
}

fn remove_below(persist: &mut dyn TableLike, entry: Written<'_>) -> bool {
    for (key, of_store) in persist.iter_mut() {
        let is_it = paths::normal(Path::new(key.get())).is_ok_and(|key| key == entry.store);
        let Some(of_store) = of_store.as_table_like_mut().filter(|_| is_it) else {
            continue;
        };
        let is_wanted = |path: &Path| paths::normal(path).is_ok_and(|path| path == entry.path);
        if remove_from(of_store, &is_wanted) {
            return true;
        }
        let users = of_store.get_mut("users").and_then(Item::as_table_like_mut);
        if let (Some(users), Some(home)) = (users, entry.home) {
            let is_wanted = |path: &Path| {
                paths::normal_below(path).is_ok_and(|path| home.join(path) == entry.path)
            };
            // Two users of one home are one owner of what is in it.
            for (_, of_user) in users.iter_mut() {
                let lists = of_user.as_table_like_mut();
                if lists.is_some_and(|lists| remove_from(lists, &is_wanted)) {
                    return true;
                }
            }
        }
    }
    false
}

/// Removes the first entry whose path is wanted from the two lists of a table.
fn remove_from(table: &mut dyn TableLike, is_wanted: &dyn Fn(&Path) -> bool) -> bool {
    for kind in [EntryKind::Directory, EntryKind::File] {
        match table.get_mut(list_name(kind)) {
            Some(Item::Value(Value::Array(array))) => {
                let found = array
                    .iter()
                    .position(|value| path_of(value).is_some_and(|path| is_wanted(path.as_ref())));
                if let Some(index) = found {
                    take_out(array, index);
                    return true;
                }
            }
            Some(Item::ArrayOfTables(tables)) => {
                if let Some(index) = position(tables, is_wanted) {
                    tables.remove(index);
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

fn position(tables: &ArrayOfTables, is_wanted: &dyn Fn(&Path) -> bool) -> Option<usize> {
    tables.iter().position(|table| {
        let path = table.get("path").and_then(Item::as_str);
        path.is_some_and(|path| is_wanted(path.as_ref()))
    })
}

fn path_of(value: &Value) -> Option<&str> {
    let of_table = || value.as_inline_table()?.get("path")?.as_str();
    value.as_str().or_else(of_table)
}

/// Takes a value out of a list, with the comments above it and behind it; those of its neighbours
/// stay with them.
fn take_out(array: &mut Array, index: usize) {
    // What stands before a value begins with what stands behind the one before it.
    let head = |text: &str| match text.split_once('\n') {
        Some((head, _)) => head.to_owned(),
        None => String::new(),
    };
    let tail = |text: &str| text.find('\n').map(|at| text[at..].to_owned());
    let prefix = |value: &Value| {
        let prefix = value.decor().prefix().and_then(|raw| raw.as_str());
        prefix.unwrap_or_default().to_owned()
    };
    let removed = prefix(&array.remove(index));
    match array.get_mut(index) {
        Some(next) => {
            let before = match tail(&prefix(next)) {
                Some(tail) => format!("{}{tail}", head(&removed)),
                None if index == 0 => removed,
                None => prefix(next),
            };
            next.decor_mut().set_prefix(before);
        }
        None => {
            let trailing = array.trailing().as_str().unwrap_or_default();
            if let Some(tail) = tail(trailing) {
                let trailing = format!("{}{tail}", head(&removed));
                array.set_trailing(trailing);
            }
            if array.is_empty() {
                array.set_trailing_comma(false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
