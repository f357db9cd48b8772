//! Rule 3: one strict parser.

use super::forge::Forge;
use super::{FILE, refused};
use state::archive::pax;

#[test]
fn only_this_formats_headers_are_read() {
    let one = || Forge::new(&[("file", FILE, b"content")]);
    for (letter, shown) in [
        (b'L', "L"),
        (b'K', "K"),
        (b'S', "S"),
        (b'M', "M"),
        (b'g', "g"),
        (b'V', "V"),
        (b'3', "3"),
        (b'4', "4"),
        (b'7', "7"),
        (b'D', "D"),
    ] {
        let forge = one().bend(|header| header[156] = letter);
        refused(&forge, &format!("a member of type `{shown}`"));
    }
    refused(&one().bend(|h| h[156] = 0), "in another form"); // the old letter of a file
    let octal = "a number that is not octal";
    refused(&one().bend(|h| h[124] = 0x80), octal); // base-256
    refused(&one().bend(|h| h[124] = 0xff), octal);
    refused(
        &one().bend(|h| h[124..136].copy_from_slice(b"         7 \0")),
        octal,
    );
    refused(&one().bend(|h| h[124] = b'-'), octal);
    refused(&one().bend(|h| h[136..148].fill(0)), octal);
    refused(
        &one().bend(|h| h[257..265].copy_from_slice(b"ustar  \0")),
        "not ustar",
    );
    refused(&one().bend(|h| h[330] = b'1'), "in another form"); // a device number on a file
    refused(&one().bend(|h| h[505] = b'x'), "in another form"); // in the unused end
    let mut forge = one();
    forge.members.last_mut().unwrap().0[0] ^= 1;
    refused(&forge, "whose checksum is wrong");

    let records = |list: &[(&str, &[u8])]| {
        let mut bytes = Vec::new();
        for (key, value) in list {
            pax::push(&mut bytes, key.as_bytes(), value);
        }
        bytes
    };
    for (list, why) in [
        (
            &[("path", &b"./a"[..]), ("path", b"./file")][..],
            "two records for \"path\"",
        ),
        (&[("path", b"../canary/x")], "does not begin with ./"),
        (&[("size", b"7")], "in another form"), // would fit into ustar
        (&[("size", b"+7")], "a number that is none"),
        (
            &[("size", b"99999999999999999999")],
            "a number that is none",
        ),
        (
            &[("size", b"9223372036854775807")],
            "a size that no file has",
        ),
        (&[("mtime", b"0.0")], "is no time"),
        (&[("comment", b"x")], "a record of an unknown kind"),
        (
            &[("GNU.sparse.major", b"0")],
            "a sparse form other than 1.0",
        ),
        (&[("SCHILY.xattr.user%3", b"")], "an impossible name"),
        (&[("hdrcharset", b"KLINGON")], "an unknown character set"),
        (&[("linkpath", b"/etc/passwd")], "in another form"),
        (&[("uname", b"root")], "in another form"),
    ] {
        refused(&one().pax(&records(list)), why);
    }
    refused(
        &one().pax(b"99 path=./x\n"),
        "a pax record without a true length",
    );
    let twice = records(&[("STATE.flags", b"no-dump")]);
    refused(&one().pax(&twice).pax(&twice), "a member of type `x`");
}
