use super::*;
use chrono::{DateTime, Utc};

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
    let list = AllowedSigners::parse(&signer().allowed_line("blitzar").unwrap());
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
            principal: "quasar".into(),
            why: None,
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
        (format!("blitzar {key}"), Ok(())),
        (format!("blitzar {key} a comment"), Ok(())),
        (format!("quasar,blitz* {key}"), Ok(())),
        (format!("*,!blitzar {key}"), Err("")),
        (format!("\"blitzar\" {key}"), Ok(())),
        (format!("blitzar namespaces=\"git,state-*\" {key}"), Ok(())),
        (format!("blitzar namespaces=\"git\" {key}"), Err("")),
        (
            format!("blitzar valid-before=\"20261121\" {key}"),
            Err(" (only until 2026-11-21T00:00:00Z)"),
        ),
        (
            format!("blitzar valid-before=\"20261121120000Z\" {key}"),
            Ok(()),
        ),
        (
            format!("blitzar valid-after=\"20261121\",valid-before=\"20261122\" {key}"),
            Ok(()),
        ),
        (
            format!("blitzar valid-after=\"202611211201\" {key}"),
            Err(" (only from 2026-11-21T12:01:00Z on, and it is 2026-11-21T12:00:00Z)"),
        ),
        (format!("# blitzar {key}\n\n"), Err("")),
        // A line that was put out of force does not take back another.
        (
            format!("blitzar valid-before=\"20200101\" {key}\n* {key}"),
            Ok(()),
        ),
        // What is not understood makes nobody trusted, and is named.
        (
            "blitzar".to_owned(),
            Err(" (line 1: it ends before its key)"),
        ),
        (
            format!("# trusted\nblitzar colour=red {key}"),
            Err(" (line 2: the option \"colour\" is unknown)"),
        ),
        (
            format!("blitzar cert-authority {key}"),
            Err(" (line 1: certificate authorities are not supported)"),
        ),
        (
            format!("blitzar valid-after=\"soon\" {key}"),
            Err(" (line 1: \"soon\" is no time)"),
        ),
        (
            format!("blitzar namespaces=state-archive {key}"),
            Err(" (line 1: what \"namespaces\" is must stand in double quotes)"),
        ),
        (format!("nonsense\nblitzar {key}"), Ok(())),
    ] {
        let list = AllowedSigners::parse(&line);
        let verified = list.verify("blitzar", b"text", &signature, now());
        let verified = verified.map(drop).map_err(|error| error.to_string());
        let fingerprint = signer().fingerprint();
        let untrusted = format!("the key {fingerprint} is not trusted for blitzar");
        let wanted = trusted.map_err(|why| format!("{untrusted}{why}"));
        assert_eq!(verified, wanted, "{line}");
    }
}

#[test]
fn it_is_known_until_when_a_key_counts() {
    let key = public();
    let until =
        |text: String| AllowedSigners::parse(&text).until("blitzar", &signer().fingerprint());
    let end = "2026-11-21T00:00:00Z".parse().unwrap();
    assert_eq!(
        until(format!("blitzar valid-before=\"20261121\" {key}")),
        Some(end)
    );
    assert_eq!(
        until(format!("blitz* {key}")),
        Some(DateTime::<Utc>::MAX_UTC)
    );
    assert_eq!(until(format!("quasar {key}")), None);
}
