//! Whom to believe: an `allowed_signers` file.

use super::patterns::Patterns;
use super::{NAMESPACE, SignatureError, parse};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use ssh_key::{HashAlg, PublicKey};
use std::fmt;

/// The keys that are believed: an `allowed_signers` file.
#[derive(Debug, Clone, Default)]
pub struct AllowedSigners {
    lines: Vec<Allowed>,
    strange: Vec<Strange>,
}

/// A line that is not understood. Its key is believed for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strange {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

#[derive(Debug, Clone)]
struct Allowed {
    principals: Patterns,
    namespaces: Option<Patterns>,
    valid_after: Option<DateTime<Utc>>,
    valid_before: Option<DateTime<Utc>>,
    key: PublicKey,
}

impl AllowedSigners {
    /// Reads the text of an `allowed_signers` file. Times without `Z` are taken as UTC too: the
    /// machine that restores has no time zone of its own.
    ///
    /// As for ssh-keygen, a line that is not understood makes nobody trusted, and the others
    /// count. That includes certificate authorities.
    pub fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for (n, line) in text.lines().enumerate() {
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match Allowed::parse(text) {
                Ok(allowed) => list.lines.push(allowed),
                Err(why) => list.strange.push(Strange { line: n + 1, why }),
            }
        }
        list
    }

    /// The lines that are not understood.
    pub fn strange(&self) -> &[Strange] {
        &self.strange
    }

    /// Until when `principal`'s archives that the key of this fingerprint signs are believed;
    /// `None`: they are not. [`DateTime::MAX_UTC`]: for ever.
    pub fn until(&self, principal: &str, fingerprint: &str) -> Option<DateTime<Utc>> {
        let lines = self.lines.iter().filter(|allowed| {
            allowed.is_for(principal)
                && allowed.key.fingerprint(HashAlg::Sha256).to_string() == fingerprint
        });
        lines
            .map(|allowed| allowed.valid_before.unwrap_or(DateTime::<Utc>::MAX_UTC))
            .max()
    }

    /// Checks that `signature` was made over exactly `text`, for an archive, by a key that is
    /// trusted for `principal` (the machine's name) at the time `now`. Gives its fingerprint.
    ///
    /// # Errors
    /// Any of these is not so.
    pub fn verify(
        &self,
        principal: &str,
        text: &[u8],
        signature: &str,
        now: DateTime<Utc>,
    ) -> Result<String, SignatureError> {
        let signature = parse(signature)?;
        if signature.namespace() != NAMESPACE {
            return Err(SignatureError::Namespace(signature.namespace().to_owned()));
        }
        let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256);
        let lines = self.lines.iter().filter(|allowed| {
            allowed.key.key_data() == signature.public_key() && allowed.is_for(principal)
        });
        let mut why_not = None;
        for allowed in lines {
            match allowed.is_valid(now) {
                Ok(()) => {
                    let checked = allowed.key.verify(NAMESPACE, text, &signature);
                    return match checked {
                        Ok(()) => Ok(fingerprint.to_string()),
                        Err(_) => Err(SignatureError::Mismatch),
                    };
                }
                Err(why) => why_not = Some(why),
            }
        }
        let strange = || self.strange.first().map(ToString::to_string);
        Err(SignatureError::Untrusted {
            fingerprint: fingerprint.to_string(),
            principal: principal.to_owned(),
            why: why_not.or_else(strange),
        })
    }
}

impl Allowed {
    fn parse(line: &str) -> Result<Self, String> {
        let (principals, rest) = word(line)?;
        let (options, key) = match PublicKey::from_openssh(rest) {
            Ok(key) => (String::new(), key),
            Err(_) => {
                let (options, key) = word(rest)?;
                let key = PublicKey::from_openssh(key).map_err(|e| format!("its key: {e}"))?;
                (options, key)
            }
        };
        let mut allowed = Self {
            principals: Patterns::parse(&principals),
            namespaces: None,
            valid_after: None,
            valid_before: None,
            key,
        };
        for option in split_unquoted(&options, ',').filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let quoted = || {
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                value.ok_or_else(|| format!("what {name:?} is must stand in double quotes"))
            };
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => allowed.namespaces = Some(Patterns::parse(quoted()?)),
                "valid-after" => allowed.valid_after = Some(time(quoted()?)?),
                "valid-before" => allowed.valid_before = Some(time(quoted()?)?),
                "cert-authority" => return Err("certificate authorities are not supported".into()),
                other => return Err(format!("the option {other:?} is unknown")),
            }
        }
        Ok(allowed)
    }

    /// Whether archives of `principal` are among what the key may sign.
    fn is_for(&self, principal: &str) -> bool {
        let namespaces = self.namespaces.as_ref();
        self.principals.match_text(principal)
            && namespaces.is_none_or(|list| list.match_text(NAMESPACE))
    }

    /// Whether it may at this time; else why not. The time is the reader's own: that of the
    /// signature is the signer's word, and a stolen key would give its own.
    fn is_valid(&self, now: DateTime<Utc>) -> Result<(), String> {
        let shown = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        match (self.valid_after, self.valid_before) {
            (Some(after), _) if now < after => Err(format!(
                "only from {} on, and it is {}",
                shown(after),
                shown(now)
            )),
            (_, Some(before)) if now > before => Err(format!("only until {}", shown(before))),
            _ => Ok(()),
        }
    }
}

/// The first word, in which quoted blanks do not separate, and what follows it.
fn word(text: &str) -> Result<(String, &str), String> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    });
    match end {
        Some(end) => Ok((text[..end].to_owned(), text[end..].trim_start())),
        None => Err("it ends before its key".into()),
    }
}

fn split_unquoted(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && c == at
    })
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without `Z`.
fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let bad = || format!("{text:?} is no time");
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let naive = match digits.len() {
        8 => NaiveDate::parse_from_str(digits, "%Y%m%d")
            .ok()
            .and_then(|date| date.and_hms_opt(0, 0, 0)),
        12 => NaiveDateTime::parse_from_str(&format!("{digits}00"), "%Y%m%d%H%M%S").ok(),
        14 => NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok(),
        _ => None,
    };
    naive.map(|t| t.and_utc()).ok_or_else(bad)
}
