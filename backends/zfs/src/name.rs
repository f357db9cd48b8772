//! The names ZFS can carry, checked before any call.
//!
//! The rules are the kernel's (`module/zcommon/zfs_namecheck.c`: `entity_namecheck`,
//! `zfs_component_namecheck`, `dataset_nestcheck`, `pool_namecheck`; `ZFS_MAX_DATASET_NAME_LEN` of
//! `include/sys/fs/zfs.h`), without `%`, which the kernel keeps for names of its own and zfs(8)
//! refuses.

use state_api::BadName;

/// The longest full name, in bytes (`ZFS_MAX_DATASET_NAME_LEN` counts the final zero).
const LONGEST: usize = 255;
/// The most slashes in a name (`zfs_max_dataset_nesting` is the first number that is too many).
const DEEPEST: usize = 49;

/// Checks the full name of a dataset: `pool/a/b`.
pub(crate) fn check_dataset(name: &str) -> Result<(), BadName> {
    let bad = |why| Err(bad(name, why));
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > LONGEST {
        return bad("it is longer than 255 bytes");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return bad("a pool's name begins with a letter");
    }
    if name.matches('/').count() > DEEPEST {
        return bad("it is nested deeper than 49 levels");
    }
    for component in name.split('/') {
        match component {
            "" => return bad("a part between slashes is empty"),
            "." | ".." => return bad("a part of it is . or .."),
            _ => check_letters(name, component)?,
        }
    }
    Ok(())
}

/// Checks the full name of a snapshot: `pool/a/b@snapshot`.
pub(crate) fn check_snapshot(name: &str) -> Result<(), BadName> {
    if name.len() > LONGEST {
        return Err(bad(name, "it is longer than 255 bytes"));
    }
    let Some((dataset, short)) = name.split_once('@') else {
        return Err(bad(name, "it has no @"));
    };
    check_dataset(dataset)?;
    check_short(short)
}

/// Checks the short name of a snapshot: what comes after the `@`.
pub(crate) fn check_short(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(bad(name, "it is empty"));
    }
    check_letters(name, name)
}

fn check_letters(name: &str, part: &str) -> Result<(), BadName> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.: ".contains(c);
    if part.chars().all(legal) {
        Ok(())
    } else {
        Err(bad(
            name,
            "only letters, digits, spaces and - _ . : are allowed",
        ))
    }
}

fn bad(name: &str, why: &'static str) -> BadName {
    BadName {
        name: name.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_names_pass() {
        let deepest = format!("p{}", "/d".repeat(49));
        let longest = format!("p/{}", "x".repeat(253));
        for name in [
            "rpool",
            "rpool/local/root",
            "rpool/my root:1",
            "rpool/ROOT/debian_12.4",
            "rpool/...",
            "rpool/ ",
            &deepest,
            &longest,
        ] {
            assert_eq!(check_dataset(name), Ok(()), "{name}");
            if name != longest {
                assert_eq!(check_snapshot(&format!("{name}@a b:c.-_")), Ok(()));
            }
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let deep = format!("p{}", "/d".repeat(50));
        let long = format!("p/{}", "x".repeat(254));
        for name in [
            "", "/", "-p/x", "1p", "/p", "p/", "p//d", "p/.", "p/../d", "p@s", "p#b", "p/é",
            "p/a\nb", "p/a\tb", "p/%recv", "p/a,b", &deep, &long,
        ] {
            assert!(check_dataset(name).is_err(), "{name:?}");
        }
        for name in ["p", "p@", "@s", "p@a@b", "p@a/b", "p@a#b", "p/.@s", "p@a%b"] {
            assert!(check_snapshot(name).is_err(), "{name:?}");
        }
        assert!(check_snapshot(&format!("p@{}", "x".repeat(254))).is_err());
    }
}
