//! Whose restored files become.

use super::machine::Machine;
use state_api::Never;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

const GROUPS: &str = "root:x:0:\ngit:x:994:\n";

fn users(git: u32) -> String {
    format!("root:x:0:0::/:/bin/sh\ngit:x:{git}:994::/:/bin/sh\nsshd:x:995:994::/:/bin/sh\n")
}

fn owner(path: &Path) -> (u32, u32) {
    let stat = path.symlink_metadata().unwrap();
    (stat.uid(), stat.gid())
}

#[test]
#[ignore = "needs root to give files away"]
fn loop_owners_go_by_name_in_the_system_that_is_restored() {
    let machine = Machine::new();
    let data = machine.store().join("var/lib/app/data");
    let nameless = machine.store().join("var/lib/app/sub");
    machine.write("root/etc/passwd", &users(993));
    machine.write("root/etc/group", GROUPS);
    lchown(&data, Some(993), Some(994)).unwrap();
    lchown(&nameless, Some(4711), Some(0)).unwrap();
    let acl = |text: &str| text.parse::<state_linux::acl::Acl>().unwrap().to_bytes();
    let own = "user::rw-,user:993:rwx,group::r--,mask::rwx,other::---";
    let set = |text| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(&data, state_linux::acl::ACCESS, &acl(text), flags)
    };
    let has_acls = set(own).is_ok();
    machine.backup().unwrap();

    // A new installation gave the service another number.
    machine.write("root/etc/passwd", &users(990));
    let nobody = "owners that had no name stay numbers: user 4711";
    let report = machine.restore().unwrap();
    assert_eq!(
        report.notes,
        [
            "owners go by their names: user git is 990 here and was 993",
            nobody
        ]
    );
    assert_eq!(report.stores[0].losses, []);
    assert_eq!((owner(&data), owner(&nameless)), ((990, 994), (4711, 0)));
    if has_acls {
        let mut value = [0; 256];
        let length =
            rustix::fs::lgetxattr(&data, state_linux::acl::ACCESS, &mut value[..]).unwrap();
        assert_eq!(value[..length], acl(&own.replace("993", "990"))[..]);
    }
    let path = machine.restore_with(&Never, |options| {
        options.path = Some("/var/lib/app/data".into());
    });
    assert_eq!(path.unwrap().notes.len(), 1);
    assert_eq!(owner(&data), (990, 994));

    // A system that has no such user yet: the number stays, and whose it was is told.
    machine.write(
        "root/etc/passwd",
        "root:x:0:0::/:/bin/sh\nnew:x:993:993::/:\n",
    );
    let report = machine.restore_with(&Never, |options| options.forget_replaced = true);
    assert_eq!(
        report.unwrap().notes,
        [
            nobody,
            "owners whose names are not here yet stay numbers: user git 993"
        ]
    );
    assert_eq!(owner(&data), (993, 994));

    // The archive brings its own user table: its numbers are right.
    machine.configure("");
    machine.write("root/etc/passwd", &users(993));
    fs::create_dir_all(machine.store().join("etc")).unwrap();
    fs::copy(
        machine.path("root/etc/passwd"),
        machine.store().join("etc/passwd"),
    )
    .unwrap();
    let config = machine.read("root/etc/state/state.toml");
    let config = config.replace(
        "\"/etc/machine-id\"",
        "\"/etc/machine-id\", \"/etc/passwd\"",
    );
    machine.write("root/etc/state/state.toml", &config);
    lchown(&data, Some(993), Some(994)).unwrap();
    machine.backup().unwrap();
    machine.write("root/etc/passwd", &users(990));
    let report = machine.restore_with(&Never, |options| options.forget_replaced = true);
    assert_eq!(report.unwrap().notes, [nobody]);
    assert_eq!(owner(&data), (993, 994));
}
