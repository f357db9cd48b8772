//! `--run-install`: the system's own installer, which here is a script.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// Where NixOS has its programs. `/run` is the test's own.
const BIN: &str = "/run/current-system/sw/bin";

fn script(name: &str, text: &str) {
    let path = Path::new(BIN).join(name);
    fs::create_dir_all(BIN).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A machine that runs NixOS, as far as an archive of it knows; the commit of its configuration.
fn nixos() -> (Machine, String) {
    let (machine, commit) = config::configured("/nixos");
    namespace::own_mounts().expect("this needs root");
    let empty = mount::detached("tmpfs", &[], mount::Attributes::empty()).unwrap();
    mount::attach(empty, rustix::fs::CWD, Path::new("/run")).unwrap();
    script("nixos-version", "echo '{\"nixosVersion\":\"26.05\"}'");
    let dir = machine.path("");
    let dir = dir.display().to_string();
    let dir = dir.trim_end_matches('/');
    let text = machine.read("root/etc/state/state.toml");
    let text = text.replace("\"/persist\"", &format!("\"{dir}/root/persist\""));
    let text = text.replace("\"/nixos\"", &format!("\"{dir}/root/nixos\""));
    machine.write("nixos.toml", &text);
    let saved = Command::new(env!("CARGO_BIN_EXE_state"))
        .args([
            "--no-progress",
            "--config",
            &format!("{dir}/nixos.toml"),
            "backup",
        ])
        .output()
        .unwrap();
    assert!(saved.status.success(), "{saved:?}");
    (machine, commit)
}

const ONTO: [&str; 2] = ["--backend=tmpfs", "--allow-unsigned"];

fn is_empty(new: &New) -> bool {
    let image = fs::read(new.image()).unwrap();
    image.iter().all(|byte| *byte == 0)
}

#[test]
#[ignore = "needs root, a loop device and git"]
fn loop_the_installer_is_run_when_all_else_is_there() {
    let (machine, commit) = nixos();
    let new = New::begin(&machine, 320);
    let run = |more: &[&str]| new.restore(&[&ONTO[..], &["--run-install"], more].concat());
    let text = |bytes: &[u8]| {
        let dir = machine.path("").display().to_string();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(dir.trim_end_matches('/'), "DIR")
    };
    // It is not here: nothing is begun.
    for dry_run in [&[][..], &["--dry-run"]] {
        let refused = run(dry_run);
        assert_eq!(
            (text(&refused.stderr).as_str(), refused.status.code()),
            (
                "error: there is no nixos-install here\n\
                 hint: NixOS' own medium has it; without --run-install, the command is told at the end\n",
                Some(4)
            )
        );
    }
    // A dry run does not run it.
    let (args, ends) = (machine.path("args"), machine.path("ends"));
    let installer = format!(
        "printf '%s\\n' \"$@\" >{}\necho it builds\necho it warns >&2\n. {}",
        args.display(),
        ends.display()
    );
    script("nixos-install", &installer);
    fs::write(&ends, "exit 1\n").unwrap();
    assert_eq!(run(&["--dry-run"]).status.code(), Some(0));
    assert!(is_empty(&new) && !args.exists());
    // Nor is it run for a configuration that is not there.
    let without = run(&["--config-from=file:///nonexistent"]);
    let told = text(&without.stdout);
    assert_eq!(without.status.code(), Some(3), "{told}");
    let why = "install  failed: its configuration is not there\n";
    assert!(told.contains(why) && !args.exists(), "{told}");

    // It fails: the rest is as it is, and the same command goes on.
    let failed = run(&[]);
    let told = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(3), "{told}");
    let flake = format!("git+file://DIR/mntDIR/root/nixos?rev={commit}#blitzar");
    let part = format!(
        "install  failed: installing the system: nixos-install ended with status 1\n\n\
         To install the system\n  nixos-install --root DIR/mnt --no-root-passwd --flake '{flake}'\n"
    );
    assert!(told.contains(&part), "{told}");
    assert!(
        told.contains("\n  * the system is not installed\n"),
        "{told}"
    );
    let wanted = format!("--root\nDIR/mnt\n--no-root-passwd\n--flake\n{flake}\n");
    assert_eq!(text(&fs::read(&args).unwrap()), wanted);
    // What it says is seen while it says it, and stays out of the report.
    let said = text(&failed.stderr);
    assert!(said.contains("it builds\nit warns\n"), "{said}");
    assert!(!told.contains("it builds"), "{told}");

    // An interruption ends it, and all that it has started.
    let pid = machine.path("pid");
    fs::write(
        &ends,
        format!(
            "sleep 600 & echo $! >{0}.new; mv {0}.new {0}; wait\n",
            pid.display()
        ),
    )
    .unwrap();
    let child = new
        .command(&[&ONTO[..], &["--run-install"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !pid.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it is not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    let signal = |pid, signal| rustix::process::kill_process(pid, signal);
    signal(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let interrupted = child.wait_with_output().unwrap();
    let told = text(&interrupted.stdout);
    assert!(
        told.contains("install  failed: it was interrupted\n"),
        "{told}"
    );
    assert_eq!(interrupted.status.code(), Some(3), "{told}");
    let slept = fs::read_to_string(&pid).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", slept.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");

    fs::write(&ends, "exit 0\n").unwrap();
    let done = run(&[]);
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert!(told.contains("\ninstall  done\n"), "{told}");
    assert!(!told.contains("the system is not installed"), "{told}");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_installer_that_cannot_be_run_is_refused_before_anything() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let new = New::begin(&machine, 320);
    let (told, exit) = new.told(&[&ONTO[..], &["--run-install"]].concat());
    assert_eq!(
        (told.as_str(), exit),
        (
            "error: no install command is known for the system of blitzar\n\
             hint: without --run-install, what is left to do is told at the end\n",
            Some(4)
        )
    );
    assert!(is_empty(&new));
    // Into a store there is no system to install, and no configuration to check out.
    let store = machine.path("elsewhere");
    fs::create_dir(&store).unwrap();
    let url = format!("file://{}", machine.path("usb").display());
    for asked in ["--run-install", "--config-from=file:///nonexistent"] {
        let refused = Command::new(env!("CARGO_BIN_EXE_state"))
            .args([
                "--yes",
                "--no-progress",
                "restore",
                "--allow-unsigned",
                asked,
            ])
            .args(["--from", &url, "--into"])
            .arg(&store)
            .output()
            .unwrap();
        let (asked, _) = asked.split_once('=').unwrap_or((asked, ""));
        assert_eq!(
            (
                String::from_utf8(refused.stderr).unwrap(),
                refused.status.code()
            ),
            (
                format!(
                    "error: {asked} is for a whole machine, and this is a restore into {}\n\
                     hint: --provision lays a disk out for one, or --into names the directory that one is mounted at\n",
                    store.display()
                ),
                Some(2)
            )
        );
        assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    }
}
