//! Encrypted roots.

use crate::machine::{Machine, give_up, keep, name, run, zfs};
use crate::{BLANK, refused};
use state_api::RootBackend;

const KEY: &str = "/tmp/key";
/// What makes a dataset one with that key.
const ENCRYPTED: [&str; 6] = [
    "-o",
    "encryption=on",
    "-o",
    "keyformat=raw",
    "-o",
    "keylocation=file:///tmp/key",
];

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_encrypted_roots_stay_under_their_key() {
    std::fs::write(KEY, "a".repeat(32)).unwrap();
    let root = "rpool/safe/root";
    let machine = Machine::bare(root);
    zfs(&[&["create"], &ENCRYPTED[..], &["rpool/safe"]].concat());
    zfs(&["create", "-o", "mountpoint=legacy", root]);
    let has_key = |dataset: &str| {
        let args = [
            "get",
            "-Hp",
            "-o",
            "value",
            "encryptionroot,keystatus",
            dataset,
        ];
        assert_eq!(zfs(&args), "rpool/safe\navailable\n", "{dataset}");
    };
    machine.write(root, "etc/installed", "yes");
    zfs(&["snapshot", &format!("{root}@blank")]);
    for boot in ["a", "b"] {
        machine.write(root, "clutter", boot);
        machine.reset(&keep(boot)).unwrap();
        assert_eq!(machine.files(root), BLANK);
        has_key(root);
        has_key(&machine.past(boot));
    }
    machine.write(root, "clutter", "c");
    // The next boot has no key yet when it resets root.
    run("zpool", &["export", "rpool"]);
    run("zpool", &["import", "-N", "-d", &machine.disk(), "rpool"]);
    let survey = machine.engine().survey().unwrap();
    assert_eq!(survey.blank_has_init, None);
    machine.reset(&keep("c")).unwrap();
    zfs(&["load-key", "rpool/safe"]);
    assert_eq!(machine.files(root), BLANK);
    for past in ["a", "b", "c"] {
        let kept = format!("clutter={past}");
        assert_eq!(machine.files(&machine.past(past)), [&kept, BLANK[0]]);
    }
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_root_with_its_own_key_is_rolled_back_only() {
    std::fs::write(KEY, "a".repeat(32)).unwrap();
    let root = "rpool/safe/root";
    let machine = Machine::bare(root);
    zfs(&["create", "rpool/safe"]);
    zfs(&[
        &["create"],
        &ENCRYPTED[..],
        &["-o", "mountpoint=legacy", root],
    ]
    .concat());
    machine.write(root, "etc/installed", "yes");
    zfs(&["snapshot", &format!("{root}@blank")]);
    machine.write(root, "clutter", "1");
    assert_eq!(
        refused(machine.reset(&keep("a"))).to_string(),
        "rpool/safe/root has a key of its own, which its successor would lose"
    );
    machine.reset(&give_up()).unwrap();
    assert_eq!(machine.files(root), BLANK);

    // Before the key is loaded there is nothing to lose.
    machine.write(root, "clutter", "2");
    run("zpool", &["export", "rpool"]);
    let disk = machine.disk();
    run("zpool", &["import", "-N", "-d", &disk, "rpool"]);
    machine.reset(&keep("early-1")).unwrap();
    machine.reset(&keep("early-2")).unwrap();
    zfs(&["load-key", root]);
    assert_eq!(machine.files(root), BLANK);
    assert_eq!(
        machine.files(&machine.past("early-1")),
        ["clutter=2", BLANK[0]]
    );
    assert_eq!(machine.files(&machine.past("early-2")), BLANK);
    for past in ["early-1", "early-2"] {
        let mut engine = machine.engine();
        let survey = engine.survey().unwrap();
        let plan = engine.plan_delete(&survey, &name(past)).unwrap();
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    }
    assert_eq!(machine.files(root), BLANK);

    // Why: the day this fails, the refusal can go.
    zfs(&["rename", "-u", root, "rpool/safe/a"]);
    zfs(&[
        "clone",
        "-o",
        "mountpoint=legacy",
        "rpool/safe/a@blank",
        root,
    ]);
    zfs(&["promote", root]);
    let args = [
        "get",
        "-Hp",
        "-o",
        "value",
        "encryptionroot,keystatus",
        root,
    ];
    assert_eq!(zfs(&args), format!("{root}\nunavailable\n"));
}
