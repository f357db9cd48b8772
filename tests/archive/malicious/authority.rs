//! Rules 1 and 4: the manifest lists what there is, exactly, and nothing else is there.

use super::forge::{Forge, member, repacked};
use super::{FILE, outcome, refused};
use state::archive::manifest::{Digest, What};

#[test]
fn the_tar_holds_what_the_manifest_lists_and_nothing_else() {
    let one = || Forge::new(&[("file", FILE, b"content")]);
    let smuggled = member("smuggled", FILE, b"").encode().unwrap();
    let mut forge = one();
    forge.extra = smuggled;
    refused(&forge, "it is not where it should be");

    let announced = "it is not what the manifest announces";
    refused(&one().last(|r| r.mode = 0o4755), announced);
    refused(&one().last(|r| r.uid = 7), announced);
    refused(&one().last(|r| r.path = b"other".to_vec()), announced);
    refused(&one().last(|r| r.modified.seconds = 7), announced);
    let capability = || [(b"security.capability".to_vec(), vec![1])].into();
    refused(&one().last(|r| r.extra.xattrs = capability()), announced);
    refused(&one().last(|r| r.what = What::Directory), announced);
    refused(&one().bend(|h| h[103] = b'7'), announced); // the mode in the tar alone
    let file = |size, content: &[u8]| What::File {
        size,
        sha256: Digest::of(content),
        is_sparse: false,
    };
    refused(&one().last(|r| r.what = file(8, b"content")), announced);
    refused(
        &one().last(|r| r.what = file(7, b"CONTENT")),
        "its content has digest",
    );
    refused(
        &one().last(|r| r.archive = 1),
        "it is in no archive of its chain",
    );
    refused(&one().last(|r| r.store = 1), "a store that is none");
}

#[test]
fn nothing_hides_behind_or_between() {
    let one = || Forge::new(&[("file", FILE, b"content")]);
    let mut forge = one();
    forge.behind = b"more".to_vec();
    refused(&forge, "no seek table at its end");
    let mut forge = one();
    forge.members.last_mut().unwrap().1 = b"content, and what is in the padding".to_vec();
    forge.members.last_mut().unwrap().1.truncate(7);
    let mut made = forge.make();
    // A byte in the padding of the last member, everything packed anew.
    made = repacked(&made, |tar| {
        let at = tar.windows(7).rposition(|w| w == b"content").unwrap();
        tar[at + 8] = 1;
    });
    assert!(
        outcome(&made)
            .unwrap_err()
            .contains("something hides in its padding")
    );
}

#[test]
fn a_newer_format_is_named() {
    let mut forge = Forge::new(&[]);
    forge.format = 2;
    refused(
        &forge,
        "the archive has format 2; this version of state reads format 1",
    );
}
