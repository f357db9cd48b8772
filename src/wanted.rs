//! Naming one of several past roots or snapshots: whole, by its first letters, or as `latest`.

use state_api::{BadName, Error, PastRootName, Refusal, Result};
use std::fmt;
use std::str::FromStr;

/// Which one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Latest,
    /// The one whose name is this, or the only one whose name begins with it.
    Named(String),
}

impl FromStr for Wanted {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        // Past roots and snapshots share one alphabet.
        text.parse()
            .map(|name: PastRootName| Self::Named(name.into()))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl Wanted {
    /// Finds it among `things`, oldest first; `kind` is what they are called: `past root`.
    ///
    /// # Errors
    /// [`Error::Unlisted`], or [`Error::Refused`] if several begin like that.
    pub fn find<'a, T>(
        &self,
        things: &'a [T],
        kind: &str,
        name_of: impl Fn(&T) -> &str,
    ) -> Result<&'a T> {
        let listed_by = match kind {
            "past root" => "state roots list",
            _ => "state snapshot list",
        };
        let missing = |what| Err(Error::Unlisted { what, listed_by });
        let wanted = match self {
            Self::Latest => {
                return things
                    .last()
                    .map_or_else(|| missing(format!("the latest {kind}")), Ok);
            }
            Self::Named(wanted) => wanted,
        };
        if let Some(thing) = things.iter().find(|thing| name_of(thing) == wanted) {
            return Ok(thing);
        }
        let begins = |thing: &&T| name_of(thing).starts_with(wanted.as_str());
        let found: Vec<&T> = things.iter().filter(begins).collect();
        match found[..] {
            [] => missing(format!("the {kind} {wanted}")),
            [one] => Ok(one),
            [first, .., last] => Err(Error::Refused(Refusal::Unsafe {
                fact: format!("{} {kind}s begin with {wanted}", found.len()),
                cure: format!(
                    "say more of the name: they go from {} to {}",
                    name_of(first),
                    name_of(last)
                ),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_first_letters_and_latest_find_exactly_one() {
        let names = ["20261119T1-a", "20261120T1-a", "20261120T1-a-2", "kept"];
        let find = |wanted: &str| {
            let wanted: Wanted = wanted.parse().unwrap();
            let found = wanted.find(&names, "past root", |name| name);
            found.copied().map_err(|error| error.to_string())
        };
        assert_eq!(find("latest"), Ok("kept"));
        assert_eq!(find("k"), Ok("kept"));
        assert_eq!(find("20261119"), Ok("20261119T1-a"));
        assert_eq!(
            find("20261120T1-a"),
            Ok("20261120T1-a"),
            "whole beats longer ones"
        );
        assert_eq!(
            find("2026112"),
            Err("2 past roots begin with 2026112".into())
        );
        assert_eq!(find("x"), Err("the past root x does not exist".into()));
        let none = Wanted::Latest.find(&[] as &[&str], "snapshot", |name| name);
        assert_eq!(
            none.unwrap_err().to_string(),
            "the latest snapshot does not exist"
        );
        assert!("../x".parse::<Wanted>().is_err());
    }
}
