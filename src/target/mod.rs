//! Where archives are published.
//!
//! Objects are written once and never changed: no lock is needed at the target, and an object is
//! there whole or not at all. An archive is its data object and, published after it, its label.

pub mod catalog;
#[cfg(feature = "offsite")]
mod credentials;
mod file;
mod pace;
pub mod place;
#[cfg(feature = "offsite")]
mod s3;
mod sftp;

pub use file::{FileSource, FileTarget};
#[cfg(feature = "offsite")]
pub use s3::S3Target;
pub use sftp::SftpTarget;

use crate::archive::read::Source;
use crate::archive::{Error, Result};
use crate::settings::{self, Settings};
use place::Place;
use state_api::Outcome;
use std::collections::BTreeMap;
use std::io::Write;

/// An object at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name: the machine's, a slash, and a file name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A place that keeps objects.
pub trait Target {
    /// Where it is, as a person wrote it, without secrets.
    fn url(&self) -> &str;

    /// The objects whose names begin with `prefix`, by name. Unfinished ones are not listed.
    ///
    /// # Errors
    /// The target cannot be reached or read.
    fn list(&self, prefix: &str) -> Result<Vec<Object>>;

    /// Begins a new object. Nothing can be seen of it before [`Upload::finish`]; dropped without
    /// it, it leaves nothing.
    ///
    /// # Errors
    /// The target cannot be reached or written.
    fn put(&self, name: &str) -> Result<Box<dyn Upload + '_>>;

    /// Opens an object for reading any part of it.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of that name.
    fn get(&self, name: &str) -> Result<Box<dyn Source + '_>>;

    /// The same for an object that was just listed, which spares asking for its size.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has gone meanwhile.
    fn get_listed(&self, object: &Object) -> Result<Box<dyn Source + '_>> {
        self.get(&object.name)
    }

    /// The whole of a small object, at most `most` bytes of it.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of that name.
    fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let source = self.get(name)?;
        source.read(0, source.length().min(most) as usize)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// It is there and cannot be deleted.
    fn delete(&self, name: &str) -> Result<Outcome>;

    /// Removes what interrupted uploads of objects with this prefix left behind. Only for the one
    /// run that may upload them.
    ///
    /// # Errors
    /// The target cannot be reached or written.
    fn sweep(&self, prefix: &str) -> Result<u64>;
}

/// An object being written.
pub trait Upload: Write {
    /// Makes the object durable and then visible under its name.
    ///
    /// # Errors
    /// It could not be made durable, or an object of that name exists: then this one is gone.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Checks the name of an object: `MACHINE/FILE`, both of plain characters, so that no name leads
/// anywhere else on any kind of target.
fn check_name(name: &str) -> Result<(&str, &str)> {
    let plain = |part: &str| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(legal)
    };
    match name.split_once('/') {
        Some((machine, file)) if plain(machine) && plain(file) => Ok((machine, file)),
        _ => Err(Error::damaged(name, "not the name of an object")),
    }
}

/// The hidden name of an unfinished object.
fn partial(file: &str) -> String {
    format!(".{file}.partial")
}

/// Whether a name is that of an unfinished object.
fn is_partial(file: &str) -> bool {
    file.starts_with('.') && file.ends_with(".partial")
}

/// There is no object of that name.
fn missing(name: &str, url: &str) -> Error {
    Error::Missing {
        what: format!("{name} at {url}"),
    }
}

/// The end of `length` bytes at `at`. What is not there is refused: nothing is allocated for it.
fn check_range(source: &dyn Source, at: u64, length: usize) -> Result<u64> {
    let end = at.checked_add(length as u64);
    end.filter(|end| *end <= source.length())
        .ok_or_else(|| Error::damaged(source.name(), "it ends too early"))
}

/// Less was given back than there was a moment before.
fn shortened(name: &str) -> Error {
    Error::damaged(name, "it became shorter while it was read")
}

/// Opens the target called `name` in the settings, or the one at the URL `name`.
///
/// # Errors
/// There is none of that name, or it cannot be reached.
pub fn open(settings: &Settings, name: &str) -> Result<Box<dyn Target>> {
    let configured = settings.target.get(name);
    let url = match configured {
        Some(target) => target.url.as_str(),
        None if name.contains("://") => name,
        None => {
            let known: Vec<&str> = settings.target.keys().map(String::as_str).collect();
            return Err(Error::Unconfigured {
                target: name.to_owned(),
                cure: if known.is_empty() {
                    "add [target.NAME] with a url, or give the URL itself".into()
                } else {
                    format!("there is {}; or give the URL itself", known.join(", "))
                },
            });
        }
    };
    let target = at(url, name, configured)?;
    Ok(match configured.and_then(|target| target.bandwidth) {
        Some(rate) => Box::new(pace::Paced::new(target, rate)),
        None => target,
    })
}

fn at(url: &str, name: &str, keys: Option<&settings::Target>) -> Result<Box<dyn Target>> {
    match Place::open(url)? {
        Place::File(path) => Ok(Box::new(FileTarget::open(url, path)?)),
        Place::Sftp(place) => {
            let key = keys.and_then(|keys| keys.key.as_deref());
            let known_hosts = keys.and_then(|keys| keys.known_hosts.as_deref());
            let target = SftpTarget::open(url, &place, key, known_hosts)?;
            Ok(Box::new(target))
        }
        #[cfg(feature = "offsite")]
        Place::S3(place) => {
            let file = keys.and_then(|keys| keys.credentials.as_deref());
            let env = |name: &str| std::env::var(name).ok();
            let credentials = credentials::Credentials::find(url, name, file, &env)?;
            Ok(Box::new(S3Target::open(url, place, credentials)?))
        }
        #[cfg(not(feature = "offsite"))]
        Place::S3(_) => Err(Error::Target {
            target: name.to_owned(),
            why: "this build of state reaches no object stores".into(),
            cure: "use a state that was built with the feature `offsite`".into(),
        }),
    }
}

/// The failure in what [`Write`] of an upload returned: its own, where it has said one.
pub(crate) fn write_failure(name: &str, error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::os(format!("writing {name}"), error),
    }
}

/// The targets that a verb without a choice works on: all that are configured.
pub fn configured(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.target.keys().map(String::as_str)
}

/// Objects by machine.
pub(crate) fn by_machine(objects: Vec<Object>) -> BTreeMap<String, Vec<Object>> {
    let mut machines: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in objects {
        if let Some((machine, _)) = object.name.split_once('/') {
            let machine = machine.to_owned();
            machines.entry(machine).or_default().push(object);
        }
    }
    machines
}
