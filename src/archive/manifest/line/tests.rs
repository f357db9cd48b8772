use super::*;

fn record() -> Record {
    Record {
        path: b"a b".to_vec(),
        store: 0,
        what: What::Directory,
        mode: 0o755,
        uid: 0,
        gid: 7,
        modified: Time::default(),
        extra: Extra::default(),
        has_links: false,
        archive: 0,
        offset: 512,
        inode: u64::MAX,
        changed: Time {
            seconds: -1,
            nanoseconds: 750_000_000,
        },
    }
}

/// Records, and their only spelling.
fn all() -> Vec<(Record, String)> {
    let time = |seconds, nanoseconds| Time {
        seconds,
        nanoseconds,
    };
    let digest = "ab".repeat(32);
    let extra = Extra {
        xattrs: [
            (b"user.a".to_vec(), b"x\"\\\xc3\xa4".to_vec()),
            (b"user.b".to_vec(), vec![0xff, 0]),
        ]
        .into(),
        access_acl: Some("user::rwx\n".into()),
        default_acl: Some("user::r--".into()),
        flags: Some("append-only,no-cow".into()),
    };
    let what = What::File {
        size: 10,
        sha256: Digest([0xab; 32]),
        is_sparse: true,
    };
    let symlink = What::Symlink {
        target: b"/\xff".to_vec(),
    };
    let link = What::Link {
        target: b"c\n".to_vec(),
    };
    vec![
        (record(), "{\"path\":\"./a b\",\"type\":\"directory\",\"mode\":\"0755\",\"uid\":0,\"gid\":7,\"mtime\":\"0\",\
           \"offset\":512,\"inode\":18446744073709551615,\"ctime\":\"-0.25\"}".into()),
        (
            Record { path: b"b\"\t\xe2\x82\xac".to_vec(), what, mode: 0o4000, modified: time(1_700_000_000, 50), extra, has_links: true, archive: 3, ..record() },
            format!("{{\"path\":\"./b\\\"\\t\u{20ac}\",\"type\":\"file\",\"size\":10,\"sha256\":\"{digest}\",\"sparse\":true,\"mode\":\"4000\",\"uid\":0,\"gid\":7,\
               \"mtime\":\"1700000000.00000005\",\"acl\":\"user::rwx\\n\",\"default-acl\":\"user::r--\",\
               \"xattrs\":[[\"user.a\",\"x\\\"\\\\\u{e4}\"],[\"user.b\",{{\"hex\":\"ff00\"}}]],\"flags\":\"append-only,no-cow\",\"links\":true,\
               \"archive\":3,\"offset\":512,\"inode\":18446744073709551615,\"ctime\":\"-0.25\"}}"),
        ),
        (
            Record { path: Vec::new(), store: 1, what: symlink, mode: 0, modified: time(i64::MAX, 999_999_999), ..record() },
            "{\"path\":\"./\",\"type\":\"symlink\",\"store\":1,\"target\":{\"hex\":\"2fff\"},\"mode\":\"0000\",\"uid\":0,\"gid\":7,\
             \"mtime\":\"9223372036854775807.999999999\",\"offset\":512,\"inode\":18446744073709551615,\"ctime\":\"-0.25\"}".into(),
        ),
        (
            Record { path: b"\xff".to_vec(), what: link, changed: time(7, 100_000_000), ..record() },
            "{\"path\":{\"hex\":\"2e2fff\"},\"type\":\"link\",\"target\":\"./c\\n\",\"mode\":\"0755\",\"uid\":0,\"gid\":7,\"mtime\":\"0\",\
             \"offset\":512,\"inode\":18446744073709551615,\"ctime\":\"7.1\"}".into(),
        ),
        (
            Record { what: What::Fifo, ..record() },
            "{\"path\":\"./a b\",\"type\":\"fifo\",\"mode\":\"0755\",\"uid\":0,\"gid\":7,\"mtime\":\"0\",\
             \"offset\":512,\"inode\":18446744073709551615,\"ctime\":\"-0.25\"}".into(),
        ),
    ]
}

#[test]
fn a_record_has_one_spelling() {
    for (record, text) in all() {
        let mut line = Vec::new();
        record.push_line(&mut line);
        assert_eq!(String::from_utf8(line).unwrap(), text);
        assert_eq!(Record::from_line(&text), Ok(record));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json.is_object());
    }
}

#[test]
fn whatever_else_is_there_is_no_record() {
    for (record, text) in all() {
        // Cut off anywhere, or with any byte changed, it is not this record.
        for n in 0..text.len() {
            if text.is_char_boundary(n) {
                assert!(Record::from_line(&text[..n]).is_err(), "{}", &text[..n]);
            }
            for byte in [b'0', b'"', b'}', b'\\', b' ', b'-', b',', b'a'] {
                let mut other = text.clone().into_bytes();
                if std::mem::replace(&mut other[n], byte) == byte {
                    continue;
                }
                if let Ok(other) = String::from_utf8(other)
                    && let Ok(found) = Record::from_line(&other)
                {
                    assert_ne!(found, record, "{other}");
                }
            }
        }
        assert!(Record::from_line(&format!("{text} ")).is_err());
    }
    let (_, text) = &all()[0];
    for (from, to) in [
        (",\"uid\":0", ",\"uid\":00"),
        (",\"uid\":0", ",\"uid\":+0"),
        (",\"uid\":0", ",\"uid\":4294967296"),
        (",\"uid\":0", ",\"uid\":0,\"new\":1"),
        (",\"uid\":0,\"gid\":7", ",\"gid\":7,\"uid\":0"),
        (",\"uid\":0", ""),
        ("\"directory\"", "\"directory\",\"store\":0"),
        ("\"directory\"", "\"socket\""),
        ("\"directory\"", "\"symlink\",\"target\":\"\""),
        ("\"directory\"", "\"link\",\"target\":\"/etc\""),
        ("\"./a b\"", "\"./a/../b\""),
        ("\"./a b\"", "\"./a\\u0020b\""),
        ("\"./a b\"", "{\"hex\":\"2e2f61\"}"),
        ("\"0755\"", "\"755\""),
        ("\"0755\"", "\"10755\""),
        ("\"mtime\":\"0\"", "\"mtime\":\"0.0\""),
        ("\"mtime\":\"0\"", "\"mtime\":\"+0\""),
        ("\"mtime\":\"0\"", "\"mtime\":\"0.\""),
        ("\"mtime\":\"0\"", "\"mtime\":\"1.0000000001\""),
        ("\"offset\"", "\"xattrs\":[],\"offset\""),
        (
            "\"offset\"",
            "\"xattrs\":[[\"b\",\"\"],[\"a\",\"\"]],\"offset\"",
        ),
        (
            "\"offset\"",
            "\"xattrs\":[[\"a\",\"\"],[\"a\",\"\"]],\"offset\"",
        ),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, *text, "{from}");
        assert!(Record::from_line(&other).is_err(), "{other}");
    }
}
