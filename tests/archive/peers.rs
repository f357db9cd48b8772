//! Our archives in the hands of the tools that any rescue medium has.

use super::common::*;
use super::history::History;
use super::hostile::{self, Oddity};
use super::roundtrip::note_without_ours;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

struct Peer {
    dir: tempfile::TempDir,
    made: Made,
}

impl Peer {
    /// A hostile tree and its archive in a file.
    fn new(seed: u64) -> Self {
        Self::wanting(seed, &|_| true)
    }

    fn wanting(seed: u64, wants: &dyn Fn(Oddity) -> bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        hostile::grow_for(&from, seed, 150, wants);
        let made = archive(&[("/persist", &from)]);
        assert_eq!(made.written.incomplete, []);
        fs::write(dir.path().join("a.tar.zst"), &made.data).unwrap();
        fs::create_dir(dir.path().join("to")).unwrap();
        Self { dir, made }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn differences(&self) -> Vec<String> {
        let wanted = note_without_ours(&self.path("from"));
        wanted.differences(&note_without_ours(&self.path("to")))
    }
}

pub(crate) fn run(dir: &Path, program: &str, args: &[&str], stdin: Option<File>) -> Output {
    Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("LC_ALL", "C.UTF-8")
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

#[track_caller]
pub(crate) fn quiet(output: Output) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    output.stdout
}

fn unpacked(peer: &Peer) -> File {
    let tar = peer.path("a.tar");
    let out = quiet(run(peer.dir.path(), "zstd", &["-dcq", "a.tar.zst"], None));
    fs::write(&tar, out).unwrap();
    File::open(tar).unwrap()
}

#[test]
#[ignore = "needs zstd, GNU tar and root"]
fn peers_gnu_tar_restores_an_equal_tree() {
    for seed in 100..106 {
        let peer = Peer::new(seed);
        // The very line that the documentation gives.
        let args = [
            "--warning=no-timestamp",
            "--warning=no-unknown-keyword",
            "-xp",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "-C",
            "to",
        ];
        quiet(run(peer.dir.path(), "tar", &args, Some(unpacked(&peer))));
        assert_eq!(peer.differences(), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
#[ignore = "needs zstd, GNU tar and sha256sum"]
fn peers_sha256sum_agrees_with_the_manifest() {
    for seed in 100..106 {
        let peer = Peer::new(seed);
        quiet(run(
            peer.dir.path(),
            "tar",
            &[
                "--warning=no-timestamp",
                "--warning=no-unknown-keyword",
                "-x",
                "-C",
                "to",
            ],
            Some(unpacked(&peer)),
        ));
        let sums = ["--check", "--strict", "--quiet", ".state/SHA256SUMS"];
        quiet(run(&peer.path("to"), "sha256sum", &sums, None));
        let text = fs::read(peer.path("to/.state/SHA256SUMS")).unwrap();
        let lines = text.iter().filter(|b| **b == b'\n').count();
        let view = view(&peer.path("from"));
        let files = state_linux::tree::Walk::new(&view)
            .filter(|e| e.as_ref().unwrap().stat.kind == state_linux::stat::Kind::File)
            .count();
        assert_eq!(lines, files + 1, "every file and machine.json");
    }
}

#[test]
#[ignore = "needs bsdtar and root"]
fn peers_bsdtar_restores_an_equal_tree() {
    for seed in 100..106 {
        let peer = Peer::wanting(seed, &|_| false);
        let args = [
            "-xpf",
            "a.tar.zst",
            "--numeric-owner",
            "--xattrs",
            "--acls",
            "-C",
            "to",
        ];
        quiet(run(peer.dir.path(), "bsdtar", &args, None));
        assert_eq!(peer.differences(), Vec::<String>::new(), "seed {seed}");
    }
}

/// Prints a member a line: what the manifest says of it, in the manifest's own words.
const PYTHON: &str = r#"
import hashlib, json, sys, tarfile
tar = tarfile.open(sys.argv[1], encoding="utf-8", errors="surrogateescape")
raw = lambda text: text.encode("utf-8", "surrogateescape")
def spelled(data):
    try: return data.decode("utf-8")
    except UnicodeDecodeError: return {"hex": data.hex()}
for m in tar:
    name = raw(m.name)
    if name.startswith(b"./.state/"): continue
    kind = {tarfile.DIRTYPE: "directory", tarfile.REGTYPE: "file", tarfile.SYMTYPE: "symlink",
            tarfile.LNKTYPE: "link", tarfile.FIFOTYPE: "fifo", tarfile.GNUTYPE_SPARSE: "file"}[m.type]
    line = {"path": spelled(b"./" if name == b"." else name), "type": kind,
            "mode": "%04o" % m.mode, "uid": m.uid, "gid": m.gid,
            "mtime": m.pax_headers.get("mtime", str(int(m.mtime)))}
    if kind in ("symlink", "link"): line["target"] = spelled(raw(m.linkname))
    if kind == "file":
        content = tar.extractfile(m).read()
        line["size"] = len(content)
        line["sha256"] = hashlib.sha256(content).hexdigest()
    for key, name in (("acl", "SCHILY.acl.access"), ("default-acl", "SCHILY.acl.default")):
        if name in m.pax_headers: line[key] = m.pax_headers[name]
    print(json.dumps(line, sort_keys=True))
"#;

#[test]
#[ignore = "needs python3 and zstd"]
fn peers_python_reads_what_the_manifest_says() {
    for seed in 100..106 {
        let peer = Peer::new(seed);
        drop(unpacked(&peer));
        let seen = quiet(run(
            peer.dir.path(),
            "python3",
            &["-c", PYTHON, "a.tar"],
            None,
        ));
        let seen: Vec<serde_json::Value> = (seen.split(|b| *b == b'\n'))
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let manifest = quiet(run(
            peer.dir.path(),
            "tar",
            &[
                "--warning=no-unknown-keyword",
                "-xOf",
                "a.tar",
                "./.state/manifest.json",
            ],
            None,
        ));
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let told = manifest["entries"].as_array().unwrap();
        assert_eq!(seen.len(), told.len());
        for (seen, told) in seen.iter().zip(told) {
            for (key, value) in seen.as_object().unwrap() {
                assert_eq!(value, &told[key], "{key} of {told}");
            }
        }
    }
}

#[test]
#[ignore = "needs zstd"]
fn peers_zstd_knows_every_frame() {
    let peer = Peer::new(100);
    quiet(run(peer.dir.path(), "zstd", &["-tq", "a.tar.zst"], None));
    let list = run(peer.dir.path(), "zstd", &["-lv", "a.tar.zst"], None);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("# Skippable Frames: 1"), "{list}");
    assert!(list.contains("Check: XXH64"), "{list}");
    assert!(peer.made.label.data_bytes > 0);
}

#[test]
#[ignore = "needs zstd, GNU tar, sha256sum and root"]
fn peers_gnu_tar_and_rm_replay_a_chain() {
    for seed in 200..204 {
        let history = History::lived(seed, 8);
        let to = history.dir.path().join("to");
        for (made, noted) in history.chain.iter().zip(&history.noted) {
            fs::write(history.dir.path().join("ID.tar.zst"), &made.data).unwrap();
            // The very lines that the documentation gives.
            let lines = match made.label.parent {
                None => "",
                Some(_) => {
                    "zstd -d < ID.tar.zst | tar -xO ./.state/deleted | \
                     (cd to && xargs -0 -r rm -rf --)\n"
                }
            };
            let script = format!(
                "set -e -o pipefail\n{lines}zstd -d < ID.tar.zst | tar --warning=no-timestamp \
                 --warning=no-unknown-keyword -xp --numeric-owner --xattrs --xattrs-include='*' \
                 --acls -C to\ncd to && sha256sum --quiet --strict -c .state/SHA256SUMS"
            );
            quiet(run(history.dir.path(), "bash", &["-c", &script], None));
            let found = note_without_ours(&to);
            let differences: Vec<_> = (noted.differences(&found).into_iter())
                // Nothing takes attributes from a directory that is there: the documentation says so.
                .filter(|line| !line.ends_with(": attributes"))
                .collect();
            assert_eq!(differences, Vec::<String>::new(), "seed {seed}");
        }
    }
}
