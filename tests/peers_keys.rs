//! Keys and signatures against the tools people will have at hand: OpenSSH and age.
#![cfg(feature = "offsite")]

use state::archive::encryption::{Identities, Recipients};
use state::archive::signature::{AllowedSigners, NAMESPACE, Signer};
use state::ask::{Ask, Nobody};
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

fn run(dir: &Path, program: &str, args: &[&str], stdin: &str) -> Output {
    Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(File::open(dir.join(stdin)).unwrap())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

fn ok(output: Output) -> Vec<u8> {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
#[ignore = "needs ssh-keygen"]
fn peers_ssh_keygen_and_we_verify_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("text"), "format 1\nmachine blitzar\n").unwrap();
    ok(run(
        dir,
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", "key"],
        "text",
    ));
    let text = fs::read(dir.join("text")).unwrap();
    let signer = Signer::from_openssh(&fs::read_to_string(dir.join("key")).unwrap()).unwrap();

    // Ours, checked by theirs, with the very line we tell people to trust.
    fs::write(dir.join("ours.sig"), signer.sign(&text).unwrap()).unwrap();
    let line = signer.allowed_line("blitzar").unwrap();
    fs::write(dir.join("allowed"), &line).unwrap();
    let check = |signature: &str, stdin: &str| {
        let args = [
            "-Y", "verify", "-f", "allowed", "-I", "blitzar", "-n", NAMESPACE, "-s",
        ];
        run(
            dir,
            "ssh-keygen",
            &[&args[..], &[signature]].concat(),
            stdin,
        )
    };
    let said = String::from_utf8(ok(check("ours.sig", "text"))).unwrap();
    assert!(said.contains(&signer.fingerprint()), "{said}");
    fs::write(dir.join("changed"), "format 1\nmachine quasar\n").unwrap();
    assert!(!check("ours.sig", "changed").status.success());

    // Theirs, checked by ours.
    ok(run(
        dir,
        "ssh-keygen",
        &["-Y", "sign", "-n", NAMESPACE, "-f", "key", "text"],
        "text",
    ));
    let theirs = fs::read_to_string(dir.join("text.sig")).unwrap();
    let list = AllowedSigners::parse(&line);
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    assert_eq!(
        list.verify("blitzar", &text, &theirs, now),
        Ok(signer.fingerprint())
    );
    assert!(list.verify("blitzar", b"format 2", &theirs, now).is_err());
}

/// Every rule of the list, at times on both sides of it: where ssh-keygen trusts, so do we, and
/// where it does not, we do not.
#[test]
#[ignore = "needs ssh-keygen"]
fn peers_ssh_keygen_and_we_trust_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("text"), "state archive 1\n").unwrap();
    for key in ["own", "other"] {
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key];
        ok(run(dir, "ssh-keygen", &args, "text"));
    }
    let read = |name: &str| {
        fs::read_to_string(dir.join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let (own, other) = (read("own.pub"), read("other.pub"));
    let signer = Signer::from_openssh(&fs::read_to_string(dir.join("own")).unwrap()).unwrap();
    fs::write(dir.join("sig"), signer.sign(b"state archive 1\n").unwrap()).unwrap();
    let lists = [
        format!("blitzar {own}"),
        format!("blitzar {other}"),
        format!("quasar {own}"),
        format!("  blitz* {own} a comment"),
        format!("quasar,blitzar {own}"),
        format!("*,!blitzar {own}"),
        format!("!quasar,* {own}"),
        format!("\"blitzar\" {own}"),
        format!("blitza? {own}"),
        format!("BLITZAR {own}"),
        format!("blitzar namespaces=\"state-archive\" {own}"),
        format!("blitzar namespaces=\"git,state-*\" {own}"),
        format!("blitzar namespaces=\"git\" {own}"),
        format!("blitzar namespaces=state-archive {own}"),
        format!("blitzar NAMESPACES=\"state-archive\" {own}"),
        format!("blitzar namespaces=\"*,!state-archive\" {own}"),
        // A key that was replaced: the old one is kept, or put out of force.
        format!("blitzar {own}\nblitzar {other}"),
        format!("blitzar valid-before=\"20261121120000Z\" {own}\nblitzar {other}"),
        format!("blitzar valid-after=\"20261121120000Z\" {own}"),
        format!("blitzar valid-after=\"20261121Z\",valid-before=\"202611211200Z\" {own}"),
        format!(
            "blitzar namespaces=\"state-archive\",valid-before=\"20261121115959Z\" {own}\n\
             blitzar valid-after=\"20261121120001Z\" {own}"
        ),
        format!("blitzar valid-before=soon {own}"),
        format!("blitzar valid-before=\"20261399Z\" {own}"),
        format!("blitzar colour=red {own}"),
        format!("blitzar cert-authority {own}"),
        format!("nonsense\n\n# blitzar\nblitzar {own}"),
        format!("#blitzar {own}"),
        "blitzar".to_owned(),
        "blitzar ssh-ed25519 AAAA".to_owned(),
        String::new(),
    ];
    let (mut trusted, mut untrusted) = (0, 0);
    for list in lists {
        fs::write(dir.join("allowed"), format!("{list}\n")).unwrap();
        for time in ["20261121115959Z", "20261121120000Z", "20261121120001Z"] {
            let option = format!("-Overify-time={time}");
            let args = [
                "-Y", "verify", &option, "-f", "allowed", "-I", "blitzar", "-n", NAMESPACE, "-s",
                "sig",
            ];
            let theirs = run(dir, "ssh-keygen", &args, "text").status.success();
            let now = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%d%H%M%SZ");
            let ours = AllowedSigners::parse(&list).verify(
                "blitzar",
                b"state archive 1\n",
                &read("sig"),
                now.unwrap().and_utc(),
            );
            assert_eq!(ours.is_ok(), theirs, "{time}: {ours:?}\n{list}");
            *(if theirs { &mut trusted } else { &mut untrusted }) += 1;
        }
    }
    assert!(trusted > 30 && untrusted > 30, "{trusted} {untrusted}");
}

#[test]
#[ignore = "needs age and age-keygen"]
fn peers_age_opens_ours_and_we_open_age_s() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(dir.join("data"), &data).unwrap();
    ok(run(dir, "age-keygen", &["-o", "key"], "data"));
    let public = String::from_utf8(ok(run(dir, "age-keygen", &["-y", "key"], "data"))).unwrap();
    let public = public.trim();

    let sealed = File::create(dir.join("ours.age")).unwrap();
    let mut writer = Recipients::parse(&[public])
        .unwrap()
        .ready()
        .unwrap()
        .encrypt(sealed)
        .unwrap();
    writer.write_all(&data).unwrap();
    writer.finish().unwrap();
    assert_eq!(ok(run(dir, "age", &["-d", "-i", "key"], "ours.age")), data);

    ok(run(dir, "age", &["-r", public, "-o", "theirs.age"], "data"));
    let mut identities = Identities::default();
    let nobody: Arc<dyn Ask> = Arc::new(Nobody);
    let key = fs::read(dir.join("key")).unwrap();
    identities.add("key", &key, &nobody).unwrap();
    let mut opened = Vec::new();
    identities
        .decrypt(BufReader::new(File::open(dir.join("theirs.age")).unwrap()))
        .unwrap()
        .read_to_end(&mut opened)
        .unwrap();
    assert_eq!(opened, data);
}
