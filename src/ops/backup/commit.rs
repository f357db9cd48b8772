//! The machine's other half: which commit of the configuration is checked out.

use crate::archive::machine::Config;
use crate::archive::manifest::Bytes;
use crate::program::{As, Program};
use state_api::{Error, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The most that git may take: a large work tree on a slow disk.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks git. `repo` is the work tree; `declared` is where it is on the machine.
///
/// git runs as the work tree's owner and without anybody's settings: the repository's own can
/// name programs, and they must not become root's.
///
/// # Errors
/// git is missing, or it is no repository with a commit.
pub(crate) fn look(repo: &Path, declared: &Path) -> Result<Config> {
    let doing = || format!("asking for the commit of {}", declared.display());
    let owner = std::fs::metadata(repo).map_err(|e| Error::os(doing(), e))?;
    let run = As {
        owner: Some((owner.uid(), owner.gid())),
        env: &[
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("HOME", "/nonexistent"),
        ],
        ..As::default()
    };
    let git = |args: &[&str]| {
        let safe = [b"safe.directory=", repo.as_os_str().as_bytes()].concat();
        let mut all = vec![OsStr::new("-C"), repo.as_os_str(), OsStr::new("-c")];
        all.push(OsStr::from_bytes(&safe));
        let quiet = [
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
        ];
        all.extend(quiet.iter().chain(args).map(OsStr::new));
        Program::Git.run_as(&run, &doing(), all, LIMIT)
    };
    let status = git(&["status", "--porcelain=v2", "--branch", "-z"])?;
    let (commit, is_dirty) = parse_status(&status).ok_or_else(|| Error::Malformed {
        what: declared.display().to_string(),
        why: "no commit is checked out".into(),
    })?;
    // No remote of that name is no failure of the backup.
    let url = git(&["remote", "get-url", "origin"]).ok();
    Ok(Config {
        repo: Bytes(declared.as_os_str().as_bytes().to_vec()),
        url: url.and_then(|url| public_url(&url)),
        commit,
        is_dirty,
    })
}

/// The commit and whether anything differs from it.
fn parse_status(status: &[u8]) -> Option<(String, bool)> {
    let mut commit = None;
    let mut is_dirty = false;
    for line in status.split(|b| *b == 0).filter(|line| !line.is_empty()) {
        match line.strip_prefix(b"# branch.oid ") {
            Some(oid) => {
                let is_oid = oid.len() >= 40 && oid.iter().all(u8::is_ascii_hexdigit);
                commit = is_oid.then(|| String::from_utf8_lossy(oid).into_owned());
            }
            None => is_dirty |= !line.starts_with(b"# "),
        }
    }
    Some((commit?, is_dirty))
}

/// A URL without the password that it may hold.
fn public_url(url: &[u8]) -> Option<String> {
    let url = std::str::from_utf8(url).ok()?.trim();
    if url.is_empty() || url.chars().any(char::is_control) {
        return None;
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(url.to_owned()); // git@host:path, or a path
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let hidden = match user {
        None => rest.to_owned(),
        // In http a user's name alone can be a token.
        Some(user) if scheme.starts_with("http") => rest[user.len() + 1..].to_owned(),
        Some(user) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{name}{}", &rest[user.len()..])
        }
    };
    Some(format!("{scheme}://{hidden}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_leaves_the_machine() {
        for (url, public) in [
            (
                "https://github.com/a/b.git\n",
                Some("https://github.com/a/b.git"),
            ),
            ("https://ann:secret@host/a", Some("https://host/a")),
            ("https://ghp_token@host/a", Some("https://host/a")),
            ("ssh://git@host:22/a", Some("ssh://git@host:22/a")),
            ("ssh://git:secret@host/a@b", Some("ssh://git@host/a@b")),
            ("git@host:a/b", Some("git@host:a/b")),
            ("/srv/git", Some("/srv/git")),
            ("", None),
            ("https://a\nb", None),
        ] {
            assert_eq!(public_url(url.as_bytes()).as_deref(), public, "{url}");
        }
    }

    #[test]
    fn the_status_says_commit_and_dirt() {
        let oid = "0123456789abcdef0123456789abcdef01234567";
        let clean = format!("# branch.oid {oid}\0# branch.head main\0");
        assert_eq!(parse_status(clean.as_bytes()), Some((oid.into(), false)));
        for change in ["1 .M N... a", "? new"] {
            let dirty = format!("{clean}{change}\0");
            assert_eq!(parse_status(dirty.as_bytes()), Some((oid.into(), true)));
        }
        assert_eq!(parse_status(b"# branch.oid (initial)\0"), None);
        assert_eq!(parse_status(b""), None);
    }

    #[test]
    fn a_repository_is_asked_without_running_what_it_names() {
        if Program::Git.find().is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let git = std::process::Command::new(Program::Git.find().unwrap())
                .args(["-c", "user.name=x", "-c", "user.email=x@x", "-C"])
                .arg(dir.path())
                .args(args)
                .output()
                .unwrap();
            assert!(git.status.success(), "{args:?}");
        };
        run(&["init", "-q"]);
        assert!(
            look(dir.path(), Path::new("/etc/nixos")).is_err(),
            "no commit yet"
        );
        std::fs::write(dir.path().join("a"), "a").unwrap();
        run(&["add", "a"]);
        run(&["commit", "-qm", "a"]);
        run(&["remote", "add", "origin", "https://x:y@host/z"]);
        let trap = dir.path().join(".git/trap");
        run(&[
            "config",
            "core.fsmonitor",
            &format!("touch {}", trap.display()),
        ]);
        let found = look(dir.path(), Path::new("/etc/nixos")).unwrap();
        assert_eq!(
            (
                found.url.as_deref(),
                found.is_dirty,
                found.repo.0.as_slice()
            ),
            (Some("https://host/z"), false, &b"/etc/nixos"[..])
        );
        std::fs::write(dir.path().join("a"), "b").unwrap();
        assert!(look(dir.path(), Path::new("/etc/nixos")).unwrap().is_dirty);
        assert!(!trap.exists());
    }
}
