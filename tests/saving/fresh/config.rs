//! The configuration of a machine that came back, out of its repository.

use super::*;

/// A machine whose configuration is in a repository beside its stores, and the repository's commit.
pub(super) fn configured(repo: &str) -> (Machine, String) {
    let machine = Machine::new();
    machine.configure(&format!("[config]\nrepo = \"{repo}\"\n"));
    let origin = machine.path("origin");
    machine.write("origin/flake.nix", "{ }\n");
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(&origin)
            .args(["-c", "user.name=ann", "-c", "user.email=ann@example.org"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    let at = machine.path("root").join(repo.trim_start_matches('/'));
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    git(&["clone", "-q", ".", at.to_str().unwrap()]);
    let url = format!("file://{}", origin.display());
    let set = Command::new("git")
        .arg("-C")
        .arg(&at)
        .args(["remote", "set-url", "origin", &url])
        .status();
    assert!(set.unwrap().success());
    let commit = git(&["rev-parse", "HEAD"]);
    (machine, commit)
}

/// The line that tells of the configuration, and those that belong to it.
fn about_config(told: &str) -> String {
    let lines = told
        .lines()
        .skip_while(|line| !line.starts_with("config   ") || line.starts_with("config   commit"));
    let mut lines: Vec<_> = lines.collect();
    let end = lines
        .iter()
        .skip(1)
        .position(|line| !line.starts_with("         "));
    lines.truncate(end.map_or(lines.len(), |end| end + 1));
    lines.join("\n")
}

#[test]
#[ignore = "needs root, a loop device and git"]
fn loop_the_configuration_comes_back_at_its_commit_or_is_told_how() {
    let (machine, commit) = configured("/persist/etc/nixos");
    let short = &commit[..12];
    machine.backup().unwrap();
    let options = ["--backend=tmpfs", "--allow-unsigned"];
    let restore = |more: &[&str]| {
        let new = New::begin(&machine, 320);
        let (told, exit) = new.told(&[&options, more].concat());
        let head = Command::new("git")
            .arg("-C")
            .arg(new.at("persist/etc/nixos"))
            .args(["rev-parse", "HEAD"])
            .output()
            .unwrap();
        let head = String::from_utf8(head.stdout).unwrap().trim().to_owned();
        ((about_config(&told), exit), head)
    };
    let (said, head) = restore(&[]);
    let cloned =
        format!("config   DIR/mnt/persist/etc/nixos cloned from file://DIR/origin, at {short}");
    assert_eq!(said, (cloned, Some(0)));
    assert_eq!(head, commit);

    // The commit was never pushed there.
    let other = configured("/persist/etc/nixos").0;
    machine.write("origin2/x", "x");
    let wrong = format!("file://{}", other.path("origin").display());
    let here = Command::new("git")
        .arg("-C")
        .arg(other.path("origin"))
        .args([
            "-c",
            "user.name=b",
            "-c",
            "user.email=b",
            "commit",
            "-q",
            "--amend",
            "-m",
            "other",
        ])
        .status();
    assert!(here.unwrap().success());
    let (said, head) = restore(&["--config-from", &wrong]);
    assert_eq!(head, "");
    let by_hand = format!(
        "         git clone --no-checkout -- {wrong} DIR/mnt/persist/etc/nixos\n         \
         git -C DIR/mnt/persist/etc/nixos checkout --detach {commit}"
    );
    let (told, exit) = said;
    let first = format!(
        "config   {short} could not be checked out: checking out {commit}: is it pushed to {wrong}?: "
    );
    assert!(told.starts_with(&first), "{told}");
    assert!(told.ends_with(&by_hand), "{told}");
    assert_eq!(exit, Some(3));

    // No git: `state` looks for it in the system's directories only.
    let hidden = ["/usr/bin/git", "/bin/git"].map(Path::new);
    let hidden: Vec<_> = hidden.iter().filter(|git| git.exists()).collect();
    for git in &hidden {
        mount::bind(Path::new("/dev/null"), git, false).unwrap();
    }
    let new = New::begin(&machine, 320);
    let (told, exit) = new.told(&options);
    drop(new);
    for git in hidden.iter().rev() {
        mount::unmount(git).unwrap();
    }
    let first = format!(
        "config   {short} could not be checked out: there is no git here: install it and run the \
         same command again, or do it later\n         git clone --no-checkout -- "
    );
    assert!(about_config(&told).starts_with(&first), "{told}");
    assert_eq!(exit, Some(3));

    // No remote that answers.
    let (said, _) = restore(&["--config-from", "file:///nonexistent"]);
    assert_eq!(said.1, Some(3), "{said:?}");
    assert!(
        said.0.starts_with(&format!(
            "config   {short} could not be checked out: cloning file:///nonexistent: "
        )),
        "{said:?}"
    );

    // An entry: it comes back with the store, byte for byte.
    let (machine, commit) = configured("/var/lib/app/config");
    let (from, to) = (
        machine.path("root/var/lib/app/config"),
        machine.store().join("var/lib/app/config"),
    );
    fs::rename(&from, &to).unwrap();
    std::os::unix::fs::symlink(&to, &from).unwrap();
    machine.backup().unwrap();
    let new = New::begin(&machine, 320);
    let (told, exit) = new.told(&options);
    let short = &commit[..12];
    assert_eq!(
        (about_config(&told), exit),
        (
            format!("config   DIR/mnt/persist/var/lib/app/config came back at {short}"),
            Some(0)
        )
    );
}

#[test]
#[ignore = "needs root, a loop device and git"]
fn loop_a_second_run_goes_on_with_what_the_first_could_not_do() {
    let (machine, commit) = configured("/persist/etc/nixos");
    let id = machine.backup().unwrap().id.unwrap();
    let new = New::begin(&machine, 320);
    let options = ["--backend=tmpfs", "--allow-unsigned"];
    let (told, exit) = new.told(&[&options[..], &["--config-from=file:///nonexistent"]].concat());
    assert_eq!(exit, Some(3), "{told}");
    let file = new.at("persist/var/lib/app/data");
    fs::write(&file, "since then").unwrap();
    let (told, exit) = new.told(&options);
    assert_eq!(exit, Some(0), "{told}");
    assert!(
        told.contains(&format!("archive  {id} of blitzar")),
        "{told}"
    );
    assert!(told.contains(", by an earlier run, "), "{told}");
    assert_eq!(
        about_config(&told),
        format!(
            "config   DIR/mnt/persist/etc/nixos cloned from file://DIR/origin, at {}",
            &commit[..12]
        )
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "since then");
    let fstab = fs::read_to_string(new.at("persist/etc/state/fstab")).unwrap();
    assert!(fstab.contains(" /persist ext4 "), "{fstab}");

    // Once more, if that is what is wanted.
    let (told, exit) = new.told(&[&options[..], &["--forget-replaced"]].concat());
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");

    // Another archive would give up the only tree of before.
    machine.write("root/persist/var/lib/app/data", "newer");
    machine.backup().unwrap();
    let (told, exit) = new.told(&options);
    assert_eq!(
        (told.as_str(), exit),
        (
            format!(
                "error: DIR/mnt/persist still keeps the tree that an earlier restore replaced\n\
                 hint: --archive {id} goes on with what is there; `state undo DIR/mnt/persist` puts it \
                 back; --forget-replaced gives it up for this restore\n"
            )
            .as_str(),
            Some(4)
        )
    );

    // What came before is back: it is another one's tree.
    let undone = Command::new(env!("CARGO_BIN_EXE_state"))
        .args(["--yes", "undo"])
        .arg(new.at("persist"))
        .output()
        .unwrap();
    assert!(undone.status.success(), "{undone:?}");
    let (told, exit) = new.told(&[&options[..], &["--archive", &id]].concat());
    assert_eq!(exit, Some(4), "{told}");
    assert!(
        told.contains("the tree that an earlier restore replaced"),
        "{told}"
    );
}
