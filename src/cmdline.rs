//! The words that the kernel command line has for us. Pure: the text is handed in.

use crate::wanted::Wanted;
use state_api::BadName;

/// What the kernel command line says about this boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// `state.skip`: boot without a reset, once.
    pub skip: bool,
    /// `state.root=past/NAME`: boot a copy of that past root.
    pub root: Option<Wanted>,
    /// `state.debug`: say more.
    pub debug: bool,
    /// `init=PATH`: the program the machine boots into.
    pub init: Option<String>,
    /// Words that begin with `state.` and mean nothing.
    pub unknown: Vec<String>,
}

/// A word that asks for something that cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel command line says {word}: {why}")]
pub struct BadWord {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub why: String,
}

impl Words {
    /// Reads the text of `/proc/cmdline`. The last of several equal words counts.
    ///
    /// # Errors
    /// One of our words has a value that is not understood. Guessing could erase what somebody
    /// tried to save.
    pub fn parse(text: &str) -> Result<Self, BadWord> {
        Self::of(split(text))
    }

    /// The same of words that were split already.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of(told: Vec<String>) -> Result<Self, BadWord> {
        let mut words = Self::default();
        for word in told {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (&*word, None),
            };
            let bad = |why: String| BadWord {
                word: word.clone(),
                why,
            };
            match key {
                "state.skip" => words.skip = truth(value).ok_or_else(|| bad(YES_NO.into()))?,
                "state.debug" => words.debug = truth(value).ok_or_else(|| bad(YES_NO.into()))?,
                "state.root" => {
                    let past = value.and_then(|value| value.strip_prefix("past/"));
                    let past =
                        past.ok_or_else(|| bad("it has to be state.root=past/NAME".into()))?;
                    words.root = Some(past.parse().map_err(|e: BadName| bad(e.to_string()))?);
                }
                "init" => words.init = value.map(str::to_owned),
                key if key.starts_with("state.") => words.unknown.push(word),
                _ => {}
            }
        }
        Ok(words)
    }

    /// Whether the machine boots into a program inside root. On NixOS it does not: its init lies
    /// in the Nix store, and an empty blank is right.
    pub fn init_is_in_root(&self) -> bool {
        !self
            .init
            .as_deref()
            .is_some_and(|init| init.starts_with("/nix/store/"))
    }
}

const YES_NO: &str = "it has to be yes or no";

fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("1" | "yes" | "true" | "on") => Some(true),
        Some("0" | "no" | "false" | "off") => Some(false),
        Some(_) => None,
    }
}

/// Splits at white space outside double quotes, as the kernel does; the quotes themselves go.
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<Wanted> {
        Some(Wanted::Named(name.to_owned()))
    }

    #[test]
    fn words_mean_what_the_manual_says() {
        let nothing = Words::default();
        let table = [
            ("", nothing.clone()),
            (
                "BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet\n",
                nothing.clone(),
            ),
            (
                "quiet state.skip",
                Words {
                    skip: true,
                    ..nothing.clone()
                },
            ),
            ("state.skip=1 state.skip=no", nothing.clone()),
            (
                "xstate.skip state_skip state.skipx=",
                Words {
                    unknown: vec!["state.skipx=".into()],
                    ..nothing.clone()
                },
            ),
            (
                "state.root=past/20261121T113705Z-6d3f20c1 state.debug",
                Words {
                    root: named("20261121T113705Z-6d3f20c1"),
                    debug: true,
                    ..nothing.clone()
                },
            ),
            (
                "state.root=past/latest",
                Words {
                    root: Some(Wanted::Latest),
                    ..nothing.clone()
                },
            ),
            (
                "\"state.root=past/2026\" dyndbg=\"file x +p; state.skip\"",
                Words {
                    root: named("2026"),
                    ..nothing.clone()
                },
            ),
            (
                "init=/nix/store/abc-nixos-system/init",
                Words {
                    init: Some("/nix/store/abc-nixos-system/init".into()),
                    ..nothing.clone()
                },
            ),
        ];
        for (text, expected) in table {
            assert_eq!(Words::parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, message) in [
            (
                "state.skip=maybe",
                "state.skip=maybe: it has to be yes or no",
            ),
            (
                "state.root",
                "state.root: it has to be state.root=past/NAME",
            ),
            (
                "state.root=blank",
                "state.root=blank: it has to be state.root=past/NAME",
            ),
            (
                "state.root=past/../root",
                "state.root=past/../root: \"../root\" cannot be a name: only letters, digits and - _ . : are allowed",
            ),
            (
                "state.root=past/",
                "state.root=past/: \"\" cannot be a name: it is empty",
            ),
        ] {
            let error = Words::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("the kernel command line says {message}"));
        }
    }

    #[test]
    fn init_lies_outside_root_on_nixos_only() {
        for (text, inside) in [
            ("root=/dev/vda2 ro", true),
            ("init=/usr/lib/systemd/systemd", true),
            ("init=/nix/store/abc/init", false),
        ] {
            assert_eq!(
                Words::parse(text).unwrap().init_is_in_root(),
                inside,
                "{text}"
            );
        }
    }
}
