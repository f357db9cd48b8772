//! A record as one line of JSON, written and read by hand: there are hundreds of thousands, and
//! each is read several times.
//!
//! The reader takes keys in the order in which they are written and no other. What it has read it
//! writes once more, and refuses the line if that is another one.

use super::bytes::{push_hex, push_json};
use super::record::{Record, What};
use super::{Bytes, Digest};
use crate::archive::Bad;
use crate::archive::member::{Extra, path_of};
use crate::archive::pax::Time;
use std::borrow::Cow;
use std::collections::BTreeMap;

impl Record {
    /// Appends the record as one line of JSON, without the line feed.
    pub fn push_line(&self, line: &mut Vec<u8>) {
        let mut to = Keys(line);
        to.name("{\"path\":", &self.path);
        let kind = match &self.what {
            What::Directory => "directory",
            What::File { .. } => "file",
            What::Symlink { .. } => "symlink",
            What::Link { .. } => "link",
            What::Fifo => "fifo",
        };
        to.text(",\"type\":", kind.as_bytes());
        if self.store != 0 {
            to.number(",\"store\":", self.store as u64);
        }
        match &self.what {
            What::Directory | What::Fifo => {}
            What::File {
                size,
                sha256,
                is_sparse,
            } => {
                to.number(",\"size\":", *size);
                to.bytes_of(",\"sha256\":\"");
                push_hex(to.0, &sha256.0);
                to.0.push(b'"');
                if *is_sparse {
                    to.bytes_of(",\"sparse\":true");
                }
            }
            What::Symlink { target } => to.bytes(",\"target\":", target),
            What::Link { target } => to.name(",\"target\":", target),
        }
        let octal = [9, 6, 3, 0].map(|shift| b'0' + (self.mode >> shift & 7) as u8);
        to.text(",\"mode\":", &octal);
        to.number(",\"uid\":", self.uid.into());
        to.number(",\"gid\":", self.gid.into());
        to.time(",\"mtime\":", self.modified);
        let extra = &self.extra;
        for (key, text) in [
            (",\"acl\":", &extra.access_acl),
            (",\"default-acl\":", &extra.default_acl),
        ] {
            if let Some(text) = text {
                to.bytes(key, text.as_bytes());
            }
        }
        for (n, (name, value)) in extra.xattrs.iter().enumerate() {
            to.bytes(if n == 0 { ",\"xattrs\":[[" } else { ",[" }, name);
            to.bytes(",", value);
            to.0.push(b']');
        }
        if !extra.xattrs.is_empty() {
            to.0.push(b']');
        }
        if let Some(flags) = &extra.flags {
            to.bytes(",\"flags\":", flags.as_bytes());
        }
        if self.has_links {
            to.bytes_of(",\"links\":true");
        }
        if self.archive != 0 {
            to.number(",\"archive\":", self.archive as u64);
        }
        to.number(",\"offset\":", self.offset);
        to.number(",\"inode\":", self.inode);
        to.time(",\"ctime\":", self.changed);
        to.0.push(b'}');
    }

    /// Reads a line back.
    ///
    /// # Errors
    /// It is not what [`Record::push_line`] writes.
    pub fn from_line(text: &str) -> Result<Self, Bad> {
        let record = Self::from_own_line(text)?;
        record.check_limits()?;
        let mut again = Vec::with_capacity(text.len());
        record.push_line(&mut again);
        (again == text.as_bytes())
            .then_some(record)
            .ok_or_else(|| "a record in another form than the one of this format".into())
    }

    /// Reads a line back that has proved to be one of our own: it is not written once more.
    ///
    /// # Errors
    /// It is no record.
    pub fn from_own_line(text: &str) -> Result<Self, Bad> {
        let mut line = Line::new(text);
        line.record()
            .ok_or_else(|| line.why.unwrap_or_else(|| "a bad record".into()))
    }
}

/// The path and the store of a record's line, if that is one of our own.
pub fn place_of(text: &str) -> Option<(Cow<'_, [u8]>, usize)> {
    let (path, mut line) = path_of_line(text)?;
    line.text()?;
    let store = line.number_if(",\"store\":")?;
    Some((path, usize::try_from(store).ok()?))
}

/// The path, the store, the type and the inode of a record's line, if that is one of our own.
pub fn inode_of(text: &str) -> Option<(Cow<'_, [u8]>, usize, &str, u64)> {
    let (path, mut line) = path_of_line(text)?;
    let kind = line.text()?;
    let store = line.number_if(",\"store\":")?;
    // Quotes inside of strings are escaped: it is found nowhere else. What is behind it is short.
    let key = ",\"inode\":";
    let at = memchr::memmem::rfind(line.rest.as_bytes(), key.as_bytes())?;
    line.take(at + key.len());
    Some((path, usize::try_from(store).ok()?, kind, line.number()?))
}

/// The path and the digest, in hexadecimal, of a regular file's line, if that is one of our own. `None`: it
/// is not of a regular file.
pub fn digest_of(text: &str) -> Option<(Cow<'_, [u8]>, &str)> {
    let (path, mut line) = path_of_line(text)?;
    if line.text()? != "file" {
        return None;
    }
    line.number_if(",\"store\":")?;
    line.expect(",\"size\":")?;
    line.number()?;
    line.expect(",\"sha256\":")?;
    Some((path, line.text()?))
}

/// The path of a line of our own, and what is behind `"type":`.
fn path_of_line(text: &str) -> Option<(Cow<'_, [u8]>, Line<'_>)> {
    let mut line = Line::new(text);
    line.expect("{\"path\":")?;
    let end = memchr::memchr2(b'"', b'\\', line.rest.as_bytes().get(1..)?)? + 1;
    let path = match line.rest.as_bytes()[end] {
        b'"' if line.rest.starts_with("\"./") => {
            let quoted = line.take(end + 1);
            Cow::Borrowed(&quoted.as_bytes()[3..end])
        }
        _ => Cow::Owned(line.path()?),
    };
    line.expect(",\"type\":")?;
    Some((path, line))
}

/// Keys and values of a line that grows.
struct Keys<'a>(&'a mut Vec<u8>);

impl Keys<'_> {
    fn bytes_of(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn bytes(&mut self, key: &str, value: &[u8]) {
        self.bytes_of(key);
        push_json(self.0, b"", value);
    }

    /// A path, as members are called.
    fn name(&mut self, key: &str, path: &[u8]) {
        self.bytes_of(key);
        push_json(self.0, b"./", path);
    }

    /// A value that needs quotes and no escapes.
    fn text(&mut self, key: &str, value: &[u8]) {
        self.bytes_of(key);
        self.0.push(b'"');
        self.0.extend_from_slice(value);
        self.0.push(b'"');
    }

    fn number(&mut self, key: &str, value: u64) {
        self.bytes_of(key);
        push_number(self.0, value);
    }

    fn time(&mut self, key: &str, time: Time) {
        self.bytes_of(key);
        self.0.push(b'"');
        match u64::try_from(time.seconds) {
            Ok(seconds) => {
                push_number(self.0, seconds);
                let mut fraction = time.nanoseconds;
                let mut unit = 100_000_000;
                if fraction > 0 {
                    self.0.push(b'.');
                }
                while fraction > 0 {
                    self.0.push(b'0' + (fraction / unit) as u8);
                    (fraction, unit) = (fraction % unit, unit / 10);
                }
            }
            Err(_) => self.bytes_of(&time.to_string()),
        }
        self.0.push(b'"');
    }
}

fn push_number(to: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[begin..]);
}

/// A line that is read. `None` from any of its functions: it is no record.
struct Line<'a> {
    /// What is left of it.
    rest: &'a str,
    /// Why it is none, if there is more to say about that.
    why: Option<Bad>,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            why: None,
        }
    }

    fn record(&mut self) -> Option<Record> {
        self.expect("{\"path\":")?;
        let path = self.path()?;
        self.expect(",\"type\":")?;
        let kind = self.text()?;
        let store = usize::try_from(self.number_if(",\"store\":")?).ok()?;
        let what = match kind {
            "directory" => What::Directory,
            "fifo" => What::Fifo,
            "file" => self.file()?,
            "symlink" => {
                self.expect(",\"target\":")?;
                let target = self.bytes()?;
                let is_possible = (1..=super::PATH_MAX).contains(&target.len());
                if !is_possible || target.contains(&0) {
                    return self.refuse("a symlink with an impossible target".into());
                }
                What::Symlink { target }
            }
            "link" => {
                self.expect(",\"target\":")?;
                let target = self.path()?;
                What::Link { target }
            }
            _ => return None,
        };
        self.expect(",\"mode\":")?;
        let mode = u32::from_str_radix(self.text()?, 8).ok()?;
        self.expect(",\"uid\":")?;
        let uid = self.number()?.try_into().ok()?;
        self.expect(",\"gid\":")?;
        let gid = self.number()?.try_into().ok()?;
        self.expect(",\"mtime\":")?;
        let modified = self.time()?;
        let extra = self.extra()?;
        let has_links = self.has(",\"links\":true");
        let archive = usize::try_from(self.number_if(",\"archive\":")?).ok()?;
        self.expect(",\"offset\":")?;
        let offset = self.number()?;
        self.expect(",\"inode\":")?;
        let inode = self.number()?;
        self.expect(",\"ctime\":")?;
        let changed = self.time()?;
        let record = Record {
            path,
            store,
            what,
            mode,
            uid,
            gid,
            modified,
            extra,
            has_links,
            archive,
            offset,
            inode,
            changed,
        };
        (mode <= 0o7777 && self.rest == "}").then_some(record)
    }

    fn file(&mut self) -> Option<What> {
        self.expect(",\"size\":")?;
        let size = self.number()?;
        self.expect(",\"sha256\":")?;
        let sha256: Digest = self.text()?.parse().ok()?;
        Some(What::File {
            size,
            sha256,
            is_sparse: self.has(",\"sparse\":true"),
        })
    }

    fn extra(&mut self) -> Option<Extra> {
        let mut string = |key| match self.has(key) {
            true => Some(Some(String::from_utf8(self.bytes()?).ok()?)),
            false => Some(None),
        };
        let (access_acl, default_acl) = (string(",\"acl\":")?, string(",\"default-acl\":")?);
        let mut xattrs = BTreeMap::new();
        if self.has(",\"xattrs\":[") {
            loop {
                self.expect("[")?;
                let name = self.bytes()?;
                self.expect(",")?;
                xattrs.insert(name, self.bytes()?);
                self.expect("]")?;
                if !self.has(",") {
                    break;
                }
            }
            self.expect("]")?;
        }
        let flags = match self.has(",\"flags\":") {
            true => Some(String::from_utf8(self.bytes()?).ok()?),
            false => None,
        };
        Some(Extra {
            xattrs,
            access_acl,
            default_acl,
            flags,
        })
    }

    fn refuse<T>(&mut self, why: Bad) -> Option<T> {
        self.why = Some(why);
        None
    }

    fn has(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.has(text).then_some(())
    }

    /// Takes what is in front of the byte at `end`.
    fn take(&mut self, end: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn number(&mut self) -> Option<u64> {
        let is_digit = |b: u8| b.is_ascii_digit();
        let end = self.rest.bytes().position(|b| !is_digit(b))?;
        self.take(end).parse().ok()
    }

    /// A number that is left out where it is 0.
    fn number_if(&mut self, key: &str) -> Option<u64> {
        match self.has(key) {
            true => self.number(),
            false => Some(0),
        }
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.expect("\"")?;
        let end = self.rest.bytes().position(|b| b == b'"')?;
        let text = self.take(end);
        self.expect("\"")?;
        Some(text)
    }

    fn time(&mut self) -> Option<Time> {
        let text = self.text()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.starts_with('-') || fraction.len() > 9 {
            return text.parse().ok();
        }
        let mut nanoseconds: u32 = 0;
        for n in 0..9 {
            let digit = match fraction.as_bytes().get(n) {
                None => 0,
                Some(digit @ b'0'..=b'9') => digit - b'0',
                Some(_) => return None,
            };
            nanoseconds = nanoseconds * 10 + u32::from(digit);
        }
        Some(Time {
            seconds: whole.parse().ok()?,
            nanoseconds,
        })
    }

    fn path(&mut self) -> Option<Vec<u8>> {
        let mut name = self.bytes()?;
        if let Err(bad) = path_of(&name) {
            return self.refuse(bad);
        }
        name.drain(..2); // ./
        Some(name)
    }

    /// Bytes as [`Bytes`] are written.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        let bytes = self.rest.as_bytes();
        let end = match bytes.first()? {
            b'"' => string_end(bytes)?,
            b'{' => bytes.iter().position(|b| *b == b'}')? + 1,
            _ => return None,
        };
        let json = self.take(end);
        if json.starts_with('"') && !json.contains('\\') {
            return Some(json.as_bytes()[1..end - 1].to_vec());
        }
        let Bytes(bytes) = serde_json::from_str(json).ok()?;
        Some(bytes)
    }
}

/// Where a JSON string ends that `bytes` begin with.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += bytes.get(at..)?.iter().position(|b| b"\"\\".contains(b))?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += 2, // what is escaped is not the end
        }
    }
}

#[cfg(test)]
mod tests;
