//! The secrets that open a target: from a file, from systemd, or from the environment. Never from
//! the command line, which everybody on the machine can read, and never shown.

use crate::archive::{Error, Result};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What opens a bucket.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(not shown)")
    }
}

const NAMES: [&str; 3] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
];

impl Credentials {
    /// Those of the target `name`: out of `file` if one is configured, else out of systemd's
    /// credential `state-NAME`, else out of the environment.
    pub(super) fn find(
        url: &str,
        name: &str,
        file: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        if let Some(file) = file {
            return Self::in_file(url, file);
        }
        if let Some(dir) = env("CREDENTIALS_DIRECTORY") {
            let file = PathBuf::from(dir).join(format!("state-{name}"));
            if file.exists() {
                return Self::in_file(url, &file);
            }
        }
        Self::of(|name| env(&name.to_uppercase())).map_err(|missing| Error::Target {
            target: url.to_owned(),
            why: format!(
                "there are no credentials: {} is not set",
                missing.to_uppercase()
            ),
            cure: format!(
                "name a file: credentials = \"/…\" in its table, or set the variables, or hand \
                 systemd's LoadCredential=state-{name}:/… to the unit"
            ),
        })
    }

    fn in_file(url: &str, file: &Path) -> Result<Self> {
        let wrong = |why: String, cure: String| Error::Target {
            target: url.to_owned(),
            why: format!("its credentials in {} {why}", file.display()),
            cure,
        };
        let unreadable = |error: std::io::Error| {
            let why = crate::failure::plain_errnos(&format!("cannot be read: {error}"));
            wrong(why, "write them there: docs/targets.md shows how".into())
        };
        let meta = std::fs::metadata(file).map_err(unreadable)?;
        if meta.mode() & 0o077 != 0 {
            return Err(wrong(
                "can be read by others".into(),
                format!("chmod 0600 {}", file.display()),
            ));
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, value) = lines.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
            Some(value.trim().to_owned())
        };
        Self::of(value).map_err(|missing| {
            wrong(
                format!("have no {missing}"),
                "the file has lines `aws_access_key_id = …` and `aws_secret_access_key = …`".into(),
            )
        })
    }

    fn of(value: impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        let [access, secret, token] = NAMES;
        let value = |name| value(name).filter(|value| !value.is_empty());
        Ok(Self {
            access_key: value(access).ok_or(access)?,
            secret_key: value(secret).ok_or(secret)?,
            session_token: value(token),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn keys(access: &str) -> Credentials {
        Credentials {
            access_key: access.into(),
            secret_key: "s3cr3t/=+".into(),
            session_token: None,
        }
    }

    #[test]
    fn the_nearest_source_counts_and_nothing_shows_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, access: &str| {
            let path = dir.path().join(name);
            let text = format!(
                "[default]\naws_access_key_id = {access}\nAWS_SECRET_ACCESS_KEY=s3cr3t/=+\n"
            );
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            path
        };
        let file = write("file", "of-the-file");
        write("state-b2", "of-systemd");
        let systemd = dir.path().display().to_string();
        let env = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some("of-the-environment".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("s3cr3t/=+".to_owned()),
            "CREDENTIALS_DIRECTORY" => Some(systemd.clone()),
            _ => None,
        };
        let find = |name, file, env| Credentials::find("s3://b", name, file, env);
        assert_eq!(find("b2", Some(&file), &env).unwrap(), keys("of-the-file"));
        assert_eq!(find("b2", None, &env).unwrap(), keys("of-systemd"));
        assert_eq!(find("nas", None, &env).unwrap(), keys("of-the-environment"));
        assert_eq!(format!("{:?}", keys("x")), "Credentials(not shown)");
        let error = find("b2", None, &|_| None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3://b: there are no credentials: AWS_ACCESS_KEY_ID is not set"
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "aws_access_key_id = a\n").unwrap();
        for (mode, why) in [
            (0o644, "can be read by others"),
            (0o600, "have no aws_secret_access_key"),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = Credentials::find("s3://b", "b", Some(&path), &|_| None).unwrap_err();
            let wanted = format!("s3://b: its credentials in {} {why}", path.display());
            assert_eq!(error.to_string(), wanted);
        }
    }
}
