//! Keys of archives.

use super::*;

#[test]
fn keys_that_lock_out_or_let_in_are_found() {
    let keys = || keys::Keys {
        locked_out: None,
        signs: Some(Ok("SHA256:x".into())),
        believed: Some(Ok(Believed {
            until: Some(DateTime::<chrono::Utc>::MAX_UTC),
            strange: Vec::new(),
        })),
        identity: None,
    };
    let with = |target: &str, to: &[&str], change: fn(&mut keys::Keys)| {
        found(|facts| {
            let mut keys = keys();
            change(&mut keys);
            facts.keys = Some(keys);
            let settings = &mut facts.config.as_mut().unwrap().settings;
            settings.archive.encrypt_to = to.iter().map(ToString::to_string).collect();
            let text = format!("[target.there]\nurl = \"{target}\"\n");
            let parsed: crate::settings::Settings = text.parse().unwrap();
            settings.target = parsed.target;
        })
    };
    let near = |change| with("file:///mnt/usb", &[], change);
    let far = |to: &[&str], change| with("s3://bkt/x?endpoint=https://s3.example", to, change);
    assert_eq!(near(|_| {}), [""; 0]);
    assert_eq!(far(&["age1x"], |_| {}), [""; 0]);
    assert_eq!(
        far(&[], |keys| keys.signs = None),
        [
            "keys Warn: archives at there are not encrypted: whoever can read there reads them",
            "keys Warn: archives are not signed: whoever can write to the target can put others \
             there"
        ]
    );
    for (change, wanted) in [
        (
            (|keys| keys.signs = None) as fn(&mut keys::Keys),
            "Note: archives are not signed: whoever can write to the target can put others there",
        ),
        (
            |keys| keys.signs = Some(Err("reading /k: no such file or directory".into())),
            "Bad: no backup can be made: reading /k: no such file or directory",
        ),
        (
            |keys| keys.locked_out = Some("[archive] encrypt-to: there is no recipient".into()),
            "Bad: no backup can be made: [archive] encrypt-to: there is no recipient",
        ),
        (
            |keys| keys.believed = None,
            "Note: nothing says whose signatures are believed: a restore asks whose key it is",
        ),
        (
            |keys| keys.believed = Some(Err("reading /list: no such file or directory".into())),
            "Warn: every restore here would be refused: reading /list: no such file or directory",
        ),
        (
            |keys| {
                keys.believed = Some(Ok(Believed {
                    until: None,
                    strange: Vec::new(),
                }));
            },
            "Warn: the list of trusted signers does not know SHA256:x, which signs here",
        ),
        (
            |keys| {
                keys.believed = Some(Ok(Believed {
                    until: Some("2026-12-20T12:00:00Z".parse().unwrap()),
                    strange: Vec::new(),
                }));
            },
            "Warn: SHA256:x, which signs here, is believed only until 2026-12-20",
        ),
        (
            |keys| {
                keys.believed = Some(Ok(Believed {
                    until: Some("2026-11-20T12:00:00Z".parse().unwrap()),
                    strange: Vec::new(),
                }));
            },
            "Warn: SHA256:x, which signs here, was believed until 2026-11-20",
        ),
        (
            |keys| {
                keys.believed = Some(Ok(Believed {
                    until: Some("2027-11-20T12:00:00Z".parse().unwrap()),
                    strange: vec!["line 2: it ends before its key".into()],
                }));
            },
            "Warn: the list of trusted signers, line 2: it ends before its key: it makes nobody \
             trusted",
        ),
        (
            |keys| keys.identity = Some(("/k".into(), None)),
            "Note: /k opens archives: whoever takes this machine has the key to them",
        ),
        (
            |keys| keys.identity = Some(("/k".into(), Some("there is no identity in it".into()))),
            "Warn: the key that should open archives here does not: /k: there is no identity in it",
        ),
    ] {
        assert_eq!(near(change), [format!("keys {wanted}")]);
    }
}
