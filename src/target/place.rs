//! The URL of a target, taken apart. Pure.

use crate::archive::{Error, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A failed request is sent again after 1 s, 2 s, 4 s …: for about a minute in all.
const RETRIES: u8 = 6;

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory of this machine.
    File(PathBuf),
    /// A directory of another machine, by its ssh server.
    Sftp(Sftp),
    /// A bucket of an object store.
    S3(S3),
}

/// `sftp://USER@HOST:PORT/DIRECTORY`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sftp {
    /// Who to log in as; by default whom `ssh` chooses.
    pub user: Option<String>,
    /// The host's name, address, or name in ssh_config(5).
    pub host: String,
    /// By default the one `ssh` chooses.
    pub port: Option<u16>,
    /// The directory, as the server sees it. Relative to the home after `/~/`.
    pub directory: String,
}

/// `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// What the names of all objects begin with: empty, or ending with a slash.
    pub prefix: String,
    /// The server; by default Amazon's.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Whether the server knows `If-None-Match: *`.
    pub create_only: bool,
    /// Whether the bucket is a part of the host's name.
    pub virtual_host: bool,
    /// Whether to send checksums, which buckets with Object Lock demand.
    pub checksum: bool,
    /// How often a request that failed for the moment is sent again.
    pub retries: u8,
}

impl Place {
    /// How a URL is written.
    pub const FORMS: &str = "a target is file:///mnt/usb/state, sftp://USER@HOST/DIRECTORY, or \
                             s3://BUCKET/PREFIX?endpoint=https://HOST";

    /// Takes a URL apart.
    ///
    /// # Errors
    /// It is none, or of an unknown kind.
    pub fn open(url: &str) -> Result<Self> {
        Self::parse(url).map_err(|why| Error::Target {
            target: without_password(url),
            why,
            cure: Self::FORMS.into(),
        })
    }

    /// The same; what is wrong with it is a bare fact.
    ///
    /// # Errors
    /// It is none, or of an unknown kind.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("not a URL")?;
        match scheme {
            "file" if rest.starts_with('/') => {
                let path = decoded(rest)?;
                Ok(Self::File(PathBuf::from(OsString::from_vec(path))))
            }
            "file" => Err("file:// is followed by an absolute path".into()),
            "sftp" => Sftp::of(rest).map(Self::Sftp),
            "s3" => S3::of(rest).map(Self::S3),
            _ => Err(format!("{scheme}:// is not known")),
        }
    }
}

impl Sftp {
    fn of(rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, at) = match authority.rsplit_once('@') {
            Some((user, at)) => (Some(user), at),
            None => (None, authority),
        };
        let (host, port) = match at.strip_prefix('[').and_then(|at| at.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match at.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (at, None),
            },
        };
        let port = port.map(|port| port.parse().map_err(|_| "its port is no number"));
        if user.is_some_and(|user| user.contains(':')) {
            return Err("a URL holds no password: use a key".into());
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
        let plain =
            |name: &str| !name.is_empty() && !name.starts_with('-') && name.chars().all(legal);
        if !plain(host) || !user.is_none_or(plain) {
            return Err("sftp:// is followed by USER@HOST/DIRECTORY".into());
        }
        let directory = text(path)?;
        let directory = match directory.strip_prefix("~/") {
            Some(below) => below.to_owned(),
            None => format!("/{directory}"),
        };
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.transpose()?,
            directory: match directory.trim_end_matches('/') {
                "" if directory.starts_with('/') => "/".into(),
                "" => ".".into(),
                directory => directory.into(),
            },
        })
    }
}

impl S3 {
    fn of(rest: &str) -> Result<Self, String> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if bucket.is_empty() || !bucket.chars().all(legal) {
            return Err("s3:// is followed by BUCKET/PREFIX".into());
        }
        let prefix = text(prefix)?;
        let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| [".", ".."].contains(part)) {
            return Err("its prefix holds . or ..".into());
        }
        let mut s3 = Self {
            bucket: bucket.to_owned(),
            prefix: parts.iter().map(|part| format!("{part}/")).collect(),
            endpoint: None,
            region: None,
            create_only: true,
            virtual_host: false,
            checksum: false,
            retries: RETRIES,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = text(value)?;
            match (key, value.as_str()) {
                ("endpoint", _) if value.starts_with("http") => s3.endpoint = Some(value),
                ("endpoint", _) => return Err("its endpoint does not begin with https://".into()),
                ("region", _) => s3.region = Some(value),
                ("create-only", "no") => s3.create_only = false,
                ("virtual-host", "yes") => s3.virtual_host = true,
                ("checksum", "yes") => s3.checksum = true,
                ("retries", _) => {
                    s3.retries = value.parse().map_err(|_| "its retries are no number")?
                }
                _ => return Err(format!("{key}={value} in it is not known")),
            }
        }
        Ok(s3)
    }
}

/// A URL without the password that somebody wrote into it all the same.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
    {
        Some((user, password)) => {
            let after = &rest[user.len() + 1 + password.len()..];
            format!("{scheme}://{user}{after}")
        }
        None => url.to_owned(),
    }
}

fn text(encoded: &str) -> Result<String, String> {
    let text = String::from_utf8(decoded(encoded)?).map_err(|_| "it is not UTF-8")?;
    match text.chars().any(char::is_control) {
        true => Err("it holds control characters".into()),
        false => Ok(text),
    }
}

fn decoded(encoded: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()];
                let digit = |d: Option<u8>| char::from(d?).to_digit(16);
                let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else {
                    return Err("a % is followed by two hexadecimal digits".into());
                };
                (high << 4 | low) as u8
            }
            byte => byte,
        });
    }
    match bytes.contains(&0) {
        true => Err("a path holds no NUL".into()),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let sftp = |user: Option<&str>, host: &str, port, directory: &str| {
            Place::Sftp(Sftp {
                user: user.map(str::to_owned),
                host: host.into(),
                port,
                directory: directory.into(),
            })
        };
        let s3 = |prefix: &str, endpoint: Option<&str>, region: Option<&str>| {
            Place::S3(S3 {
                bucket: "b".into(),
                prefix: prefix.into(),
                endpoint: endpoint.map(str::to_owned),
                region: region.map(str::to_owned),
                create_only: true,
                virtual_host: false,
                checksum: false,
                retries: RETRIES,
            })
        };
        for (url, place) in [
            ("file:///a%20b", Place::File("/a b".into())),
            (
                "sftp://u@h:22/srv/x/",
                sftp(Some("u"), "h", Some(22), "/srv/x"),
            ),
            ("sftp://h/~/x", sftp(None, "h", None, "x")),
            ("sftp://h/~/", sftp(None, "h", None, ".")),
            (
                "sftp://u@[fe80::1]:7/",
                sftp(Some("u"), "fe80::1", Some(7), "/"),
            ),
            ("s3://b", s3("", None, None)),
            (
                "s3://b/a//b/?endpoint=http://h:9&region=r",
                s3("a/b/", Some("http://h:9"), Some("r")),
            ),
            (
                "s3://b/a?endpoint=https%3A%2F%2Fh",
                s3("a/", Some("https://h"), None),
            ),
        ] {
            assert_eq!(Place::parse(url).unwrap(), place, "{url}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for url in [
            "/mnt",
            "http://h/",
            "file://mnt",
            "file:///a%zz",
            "file:///a%00",
            "sftp://",
            "sftp://-oProxyCommand=x/",
            "sftp://u:secret@h/x",
            "sftp://h:port/x",
            "sftp://h/a%0ab",
            "s3://",
            "s3://b/../c",
            "s3://b?endpoint=h",
            "s3://b?region=a&secret=x",
        ] {
            assert!(Place::parse(url).is_err(), "{url}");
        }
        let error = Place::open("sftp://u:secret@h/x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "sftp://u@h/x: a URL holds no password: use a key"
        );
    }
}
