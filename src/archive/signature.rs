//! Who wrote an archive: OpenSSH signatures (SSHSIG) and the list of keys that are believed.
//!
//! What is signed is the small text object of an archive, which holds the digests of everything
//! else. The same is done with `ssh-keygen -Y sign -n state-archive` and checked with
//! `ssh-keygen -Y verify`; the formats are OpenSSH's `PROTOCOL.sshsig` and the section ALLOWED
//! SIGNERS of ssh-keygen(1). Pure: texts in, texts out.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

/// The namespace of our signatures: one made for anything else is not one of ours.
pub const NAMESPACE: &str = "state-archive";

/// Why a signature is not believed, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signing key cannot be used.
    #[error("it is no private key that can sign: {0}")]
    Key(String),
    /// The signing key is encrypted with a passphrase, and nobody is there to ask.
    #[error("it is protected by a passphrase")]
    Protected,
    /// The signing key is of another type than Ed25519.
    #[error("it is of type {0}; only ssh-ed25519 keys sign archives")]
    KeyType(String),
    /// The text is not an armored OpenSSH signature.
    #[error("it is no OpenSSH signature: {0}")]
    NoSignature(String),
    /// It was made for something else.
    #[error("it was made for {0:?}, not for an archive")]
    Namespace(String),
    /// The text was changed after it was signed, or the signature belongs to another text.
    #[error("it does not fit the text: one of the two was changed")]
    Mismatch,
    /// The key is not on the list, or not for this name, use or time.
    #[error("the key {fingerprint} is not trusted for {principal}")]
    Untrusted {
        /// The key that signed.
        fingerprint: String,
        /// The machine it claims to speak for.
        principal: String,
    },
    /// The list of trusted keys has a line that is not understood.
    #[error("line {line}: {why}")]
    List {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// A private key that signs archives.
#[derive(Debug)]
pub struct Signer(PrivateKey);

impl Signer {
    /// The key in an OpenSSH private key file's text.
    ///
    /// # Errors
    /// It is no key, of another type than Ed25519, or protected by a passphrase.
    pub fn from_openssh(text: &str) -> Result<Self, SignatureError> {
        let key = PrivateKey::from_openssh(text).map_err(|e| SignatureError::Key(e.to_string()))?;
        if key.is_encrypted() {
            return Err(SignatureError::Protected);
        }
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Self(key)),
            other => Err(SignatureError::KeyType(other.to_string())),
        }
    }

    /// The armored signature of `text`.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign(&self, text: &[u8]) -> Result<String, SignatureError> {
        self.0
            .sign(NAMESPACE, HashAlg::Sha512, text)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|e| SignatureError::Key(e.to_string()))
    }

    /// The fingerprint as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The line of an `allowed_signers` file that trusts this key for `machine`'s archives.
    ///
    /// # Errors
    /// The key cannot be written as text.
    pub fn allowed_line(&self, machine: &str) -> Result<String, SignatureError> {
        let mut key = self.0.public_key().clone();
        key.set_comment("");
        let key = key
            .to_openssh()
            .map_err(|e| SignatureError::Key(e.to_string()))?;
        Ok(format!(
            "{machine} namespaces=\"{NAMESPACE}\" {}",
            key.trim()
        ))
    }
}

/// The key that made `signature`, without believing it: for showing its fingerprint to a person.
///
/// # Errors
/// The text is no signature.
pub fn fingerprint_of(signature: &str) -> Result<String, SignatureError> {
    Ok(parse(signature)?
        .public_key()
        .fingerprint(HashAlg::Sha256)
        .to_string())
}

/// Checks that `signature` was made over exactly `text`, for an archive, by the key it names.
/// Gives that key's fingerprint; whose it is remains to be known.
///
/// # Errors
/// It was not.
pub fn signed_by(text: &[u8], signature: &str) -> Result<String, SignatureError> {
    let signature = parse(signature)?;
    if signature.namespace() != NAMESPACE {
        return Err(SignatureError::Namespace(signature.namespace().to_owned()));
    }
    let key = PublicKey::from(signature.public_key().clone());
    key.verify(NAMESPACE, text, &signature)
        .map_err(|_| SignatureError::Mismatch)?;
    Ok(key.fingerprint(HashAlg::Sha256).to_string())
}

fn parse(signature: &str) -> Result<SshSig, SignatureError> {
    SshSig::from_pem(signature).map_err(|e| SignatureError::NoSignature(e.to_string()))
}

/// The keys that are believed: an `allowed_signers` file.
#[derive(Debug, Clone, Default)]
pub struct AllowedSigners(Vec<Allowed>);

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
    /// # Errors
    /// The first line that is not understood; certificate authorities are refused, not ignored.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let lines = text.lines().enumerate();
        lines
            .map(|(n, line)| (n + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(line, text)| {
                Allowed::parse(text).map_err(|why| SignatureError::List { line, why })
            })
            .collect::<Result<_, _>>()
            .map(Self)
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
        let fingerprint = signature
            .public_key()
            .fingerprint(HashAlg::Sha256)
            .to_string();
        let trusted = self.0.iter().find(|allowed| {
            allowed.key.key_data() == signature.public_key() && allowed.covers(principal, now)
        });
        let Some(allowed) = trusted else {
            return Err(SignatureError::Untrusted {
                fingerprint,
                principal: principal.to_owned(),
            });
        };
        allowed
            .key
            .verify(NAMESPACE, text, &signature)
            .map_err(|_| SignatureError::Mismatch)?;
        Ok(fingerprint)
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
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => allowed.namespaces = Some(Patterns::parse(value)),
                "valid-after" => allowed.valid_after = Some(time(value)?),
                "valid-before" => allowed.valid_before = Some(time(value)?),
                "cert-authority" => return Err("certificate authorities are not supported".into()),
                other => return Err(format!("the option {other:?} is unknown")),
            }
        }
        Ok(allowed)
    }

    fn covers(&self, principal: &str, now: DateTime<Utc>) -> bool {
        self.principals.match_text(principal)
            && self
                .namespaces
                .as_ref()
                .is_none_or(|n| n.match_text(NAMESPACE))
            && self.valid_after.is_none_or(|after| now >= after)
            && self.valid_before.is_none_or(|before| now < before)
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

/// A list of patterns as in ssh_config(5), PATTERNS: `*`, `?`, and `!` before what is excluded.
#[derive(Debug, Clone)]
struct Patterns(Vec<String>);

impl Patterns {
    fn parse(list: &str) -> Self {
        Self(
            list.trim_matches('"')
                .split(',')
                .map(|p| p.trim().to_owned())
                .collect(),
        )
    }

    fn match_text(&self, text: &str) -> bool {
        let mut found = false;
        for pattern in &self.0 {
            match pattern.strip_prefix('!') {
                Some(excluded) if matches(excluded.as_bytes(), text.as_bytes()) => return false,
                Some(_) => {}
                None => found |= matches(pattern.as_bytes(), text.as_bytes()),
            }
        }
        found
    }
}

/// Whether the pattern matches the whole text, in linear space and without recursion.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A throw-away key of this test alone.
    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBTEGR0Z6EcAtgKcmsFCs9dI0+FcXXQ73kFwHrZtUTgqwAAAIgKo3uwCqN7
sAAAAAtzc2gtZWQyNTUxOQAAACBTEGR0Z6EcAtgKcmsFCs9dI0+FcXXQ73kFwHrZtUTgqw
AAAEC7KKfeHMt6rJY2A4c/2CMqHdrA8uc01cP34zsZmXO6z1MQZHRnoRwC2ApyawUKz10j
T4VxddDveQXAetm1ROCrAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";
    const NOW: &str = "2026-11-21T12:00:00Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().unwrap()
    }

    fn signer() -> Signer {
        Signer::from_openssh(KEY).unwrap()
    }

    /// The public half as `ssh-keygen -y` prints it.
    fn public() -> String {
        let line = signer().allowed_line("x").unwrap();
        line.split_once("\" ").unwrap().1.to_owned()
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else_does() {
        let signature = signer().sign(b"text").unwrap();
        let list = AllowedSigners::parse(&signer().allowed_line("blitzar").unwrap()).unwrap();
        let verified = list.verify("blitzar", b"text", &signature, now());
        assert_eq!(verified, Ok(signer().fingerprint()));
        assert_eq!(
            list.verify("blitzar", b"texT", &signature, now()),
            Err(SignatureError::Mismatch)
        );
        assert_eq!(
            list.verify("quasar", b"text", &signature, now()),
            Err(SignatureError::Untrusted {
                fingerprint: signer().fingerprint(),
                principal: "quasar".into()
            })
        );
        let foreign = signer().0.sign("file", HashAlg::Sha512, b"text").unwrap();
        assert_eq!(
            list.verify(
                "blitzar",
                b"text",
                &foreign.to_pem(LineEnding::LF).unwrap(),
                now()
            ),
            Err(SignatureError::Namespace("file".into()))
        );
        assert!(matches!(
            list.verify("blitzar", b"text", "no signature", now()),
            Err(SignatureError::NoSignature(_))
        ));
    }

    #[test]
    fn every_rule_of_the_list_counts() {
        let signature = signer().sign(b"text").unwrap();
        let key = public();
        for (line, trusted) in [
            (format!("blitzar {key}"), true),
            (format!("blitzar {key} a comment"), true),
            (format!("quasar,blitz* {key}"), true),
            (format!("*,!blitzar {key}"), false),
            (format!("\"blitzar\" {key}"), true),
            (format!("blitzar namespaces=\"git,state-*\" {key}"), true),
            (format!("blitzar namespaces=\"git\" {key}"), false),
            (format!("blitzar valid-before=\"20261121\" {key}"), false),
            (
                format!("blitzar valid-before=\"20261121120001Z\" {key}"),
                true,
            ),
            (
                format!("blitzar valid-after=20261121,valid-before=\"20261122\" {key}"),
                true,
            ),
            (format!("blitzar valid-after=\"202611211201\" {key}"), false),
            (format!("# blitzar {key}\n\n"), false),
        ] {
            let list = AllowedSigners::parse(&line).unwrap();
            let verified = list.verify("blitzar", b"text", &signature, now());
            assert_eq!(verified.is_ok(), trusted, "{line}");
        }
    }

    #[test]
    fn a_list_that_is_not_understood_is_refused() {
        let key = public();
        for (text, wanted) in [
            ("blitzar".to_owned(), "line 1: it ends before its key"),
            (
                format!("blitzar cert-authority {key}"),
                "line 1: certificate authorities are not supported",
            ),
            (
                format!("# trusted\nblitzar colour=red {key}"),
                "line 2: the option \"colour\" is unknown",
            ),
            (
                format!("blitzar valid-after=soon {key}"),
                "line 1: \"soon\" is no time",
            ),
        ] {
            assert_eq!(
                AllowedSigners::parse(&text).unwrap_err().to_string(),
                wanted,
                "{text}"
            );
        }
    }

    #[test]
    fn patterns_match_as_ssh_does() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*a*b", "xaxxab", true),
            ("?", "", false),
            ("h?st", "host", true),
            ("", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                wanted,
                "{pattern} {text}"
            );
        }
    }
}
