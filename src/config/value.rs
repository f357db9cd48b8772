//! Single values: whether a text can be what it stands for. Pure; each says why not.

use crate::paths::{self, Shown};
use crate::settings::Target;
use crate::target::place::Place;
use std::path::Path;

/// What a list of entries cannot hold, by what `paths` says of it.
pub(super) fn path_problem(why: &str, path: &Path) -> (String, &'static str) {
    let hint = match why {
        "is not absolute" => "paths on the machine begin with `/`",
        "is not relative" => "a user's entries are relative to the home",
        "holds `..`" => "write the path that is meant",
        _ => "remove it",
    };
    (format!("the path \"{}\" {why}", Shown(path)), hint)
}

/// By the kernel's rules (`module/zcommon/zfs_namecheck.c`).
pub(super) fn bad_snapshot(name: &str) -> Option<&'static str> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_.: ".contains(c);
    if name.is_empty() {
        Some("a part of it is empty")
    } else if name == "." || name == ".." {
        Some("a part of it is `.` or `..`")
    } else if !name.chars().all(is_legal) {
        Some("only letters, digits, spaces and - _ . : are allowed")
    } else {
        None
    }
}

/// The same for a dataset's full name.
pub(super) fn bad_dataset(name: &str) -> Option<&'static str> {
    if name.len() > 255 {
        Some("it is longer than 255 bytes")
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Some("it must begin with a letter")
    } else if name.contains('@') {
        Some("it names a snapshot")
    } else {
        name.split('/').find_map(bad_snapshot)
    }
}

/// `25%`, `2g`, `1048576`; not zero, which means without limit.
pub(super) fn is_tmpfs_size(size: &str) -> bool {
    let digits = size.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && size.len() - digits.len() <= 1
        && !digits.trim_matches('0').is_empty()
}

/// What is wrong with a target's address, and how one is written.
pub(super) fn bad_url(url: &str) -> Option<(String, &'static str)> {
    let why = match Place::parse(url) {
        Err(why) => why,
        Ok(Place::File(path)) => paths::normal(&path).err()?.to_owned(),
        Ok(_) => return None,
    };
    Some((format!("the address of a target: {why}"), Place::FORMS))
}

/// The keys of a target that its kind has no use for.
pub(super) fn idle_keys(target: &Target) -> Vec<&'static str> {
    let Ok(place) = Place::parse(&target.url) else {
        return Vec::new();
    };
    let (is_s3, is_sftp) = (
        matches!(place, Place::S3(_)),
        matches!(place, Place::Sftp(_)),
    );
    let keys = [
        ("credentials", target.credentials.is_some() && !is_s3),
        ("key", target.key.is_some() && !is_sftp),
        ("known-hosts", target.known_hosts.is_some() && !is_sftp),
    ];
    keys.into_iter()
        .filter(|(_, is_idle)| *is_idle)
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_named_as_the_kernel_has_it() {
        for (name, is_good) in [
            ("rpool/local/root", true),
            ("tank", true),
            ("tank/a b:c", true),
            ("", false),
            ("1tank", false),
            ("tank/", false),
            ("tank//root", false),
            ("tank/../root", false),
            ("tank/root@blank", false),
            ("tank/é", false),
            (&format!("t{}", "x".repeat(255)), false),
        ] {
            assert_eq!(bad_dataset(name).is_none(), is_good, "{name:?}");
        }
    }

    #[test]
    fn sizes_are_those_of_tmpfs() {
        for (size, is_good) in [
            ("25%", true),
            ("2g", true),
            ("512M", true),
            ("1048576", true),
            ("0", false),
            ("00%", false),
            ("", false),
            ("g", false),
            ("2gg", false),
            ("2 g", false),
            ("-1", false),
        ] {
            assert_eq!(is_tmpfs_size(size), is_good, "{size:?}");
        }
    }
}
