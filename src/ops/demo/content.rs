//! What is on the demo's machine: a small system, a persist tree made of real files, and the
//! clutter of a life.

use super::stage::{make_directory, write};
use crate::copy::{self, Copied, Fidelity};
use crate::inventory::{self, Inventory};
use rustix::fs::{CWD, Mode, OFlags, openat};
use state_api::{Error, Interrupt, Result, View};
use state_linux::acl::{self, Acl};
use state_linux::metadata::Place;
use state_linux::stat::Time;
use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

/// The entries of the persist tree, as the configuration declares them.
pub(super) const ENTRIES: &str = r#"[persist."/persist"]
directories = [
  "/srv/etc",
  "/srv/doc",
  { path = "/var/lib/treasures", mode = "0750" },
]
files = [
  { path = "/etc/machine-id", early = true },
  { path = "/root/.profile", method = "symlink" },
]
"#;

/// The real files: what to copy, where to in the store, and how much of it at most.
const SYSTEM: [(&str, &str, u64); 2] = [
    ("/etc", "srv/etc", 2500),
    ("/usr/share/doc", "srv/doc", 1000),
];
/// Larger files are passed over.
const LARGEST_BYTES: u64 = 2 << 20;
/// As much is copied of each in all.
const MOST_BYTES: u64 = 48 << 20;

/// The one file that somebody will miss, and what is in it.
pub(super) const IDEA: &str = "root/good-idea.txt";
pub(super) const IDEA_TEXT: &str = "erase everything but what was declared\n";

/// A system so small that it does nothing but look like one.
pub(super) fn system(root: &Path) -> Result<()> {
    for dir in [
        "etc", "home", "persist", "proc", "run", "srv", "tmp", "usr/sbin", "var/lib",
    ] {
        make_directory(&root.join(dir))?;
    }
    write(
        &root.join("etc/os-release"),
        "ID=demo\nPRETTY_NAME=\"A demo\"\n",
    )?;
    write(
        &root.join("etc/fstab"),
        "# everything is where the demo puts it\n",
    )?;
    write(
        &root.join("usr/sbin/init"),
        "#!/bin/sh\n# an init that is never run\n",
    )?;
    let link = root.join("sbin");
    symlink("usr/sbin", &link).map_err(|error| failed(&link, error))?;
    fs::create_dir(root.join("root")).map_err(|error| failed(root, error))?;
    permit(&root.join("root"), 0o700)?;
    permit(&root.join("tmp"), 0o1777)
}

/// Fills a store with files of the running system and with what copies lose first.
pub(super) fn store(store: &Path, fidelity: Fidelity, interrupt: &dyn Interrupt) -> Result<Copied> {
    let mut all = Copied::default();
    for (from, to, most) in SYSTEM {
        let to = store.join(to);
        make_directory(&to)?;
        let copied = some_of(Path::new(from), &to, most, fidelity, interrupt)?;
        all.entries += copied.entries;
        all.bytes += copied.bytes;
        all.dropped.extend(copied.dropped);
    }
    write(
        &store.join("etc/machine-id"),
        "6d3f20c196c14b53a1de3f6f8f7e0a11\n",
    )?;
    write(&store.join("root/.profile"), "PS1='demo# '\n")?;
    permit(&store.join("root"), 0o700)?;
    treasures(&store.join("var/lib/treasures"))?;
    Ok(all)
}

fn some_of(
    from: &Path,
    to: &Path,
    most: u64,
    fidelity: Fidelity,
    interrupt: &dyn Interrupt,
) -> Result<Copied> {
    let (entries, bytes) = (Cell::new(0), Cell::new(0));
    let enough = |path: &Path| {
        let size = fs::symlink_metadata(from.join(path))
            .map_or(0, |file| if file.is_file() { file.len() } else { 0 });
        if entries.get() >= most || size > LARGEST_BYTES || bytes.get() + size > MOST_BYTES {
            return true;
        }
        entries.set(entries.get() + 1);
        bytes.set(bytes.get() + size);
        false
    };
    copy::tree(&view(from)?, view(to)?.dir, &enough, fidelity, interrupt)
}

/// What copies lose first, a piece of each.
fn treasures(dir: &Path) -> Result<()> {
    make_directory(dir)?;
    permit(dir, 0o750)?;
    write(&dir.join("two names"), "one file, two names\n")?;
    let (first, second) = (dir.join("two names"), dir.join("of one file"));
    fs::hard_link(&first, &second).map_err(|error| failed(&second, error))?;
    write(
        &dir.join("a name with a\nnewline: and a colon"),
        "it happens\n",
    )?;
    let holes = dir.join("holes");
    let made = File::create(&holes).and_then(|file| {
        file.set_len(16 << 20)?;
        file.write_all_at(b"in the middle of nothing", 8 << 20)
    });
    made.map_err(|error| failed(&holes, error))?;
    let view = view(dir)?;
    let place = |name| Place {
        dir: &view.dir,
        name,
    };
    let noted = place(c"two names").set_xattr(c"user.note", b"line one\nline two");
    allowed(noted).map_err(|error| failed(&first, error))?;
    if rustix::process::geteuid().is_root() {
        privileged(dir)?;
    }
    let time = Time {
        seconds: 1_000_000_000,
        nanoseconds: 123_456_789,
    };
    place(c"holes")
        .set_modified(time)
        .map_err(|error| failed(&holes, error))?;
    permit(&holes, 0o4711)
}

/// What only root may make: a file capability, an ACL, an owner who is nobody here.
fn privileged(dir: &Path) -> Result<()> {
    let helper = dir.join("may bind low ports");
    write(&helper, "#!/bin/sh\n")?;
    let shared = dir.join("shared with a few");
    make_directory(&shared)?;
    let view = view(dir)?;
    let place = |name| Place {
        dir: &view.dir,
        name,
    };
    // `struct vfs_cap_data`, revision 2, effective: CAP_NET_BIND_SERVICE (linux/capability.h).
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let given = place(c"may bind low ports").set_xattr(c"security.capability", &capability);
    allowed(given).map_err(|error| failed(&helper, error))?;
    let list = Acl::from_bytes(&shared_with_a_few())
        .map_err(|error| failed(&shared, io::Error::other(error)))?;
    let place = place(c"shared with a few");
    for kind in [acl::ACCESS, acl::DEFAULT] {
        allowed(place.set_acl(kind, &list)).map_err(|error| failed(&shared, error))?;
    }
    allowed(place.set_owner(4242, 4243)).map_err(|error| failed(&shared, error))
}

/// `user::rwx,user:4244:r-x,group::r-x,mask::r-x,other::---` as the kernel has it
/// (`linux/posix_acl_xattr.h`).
fn shared_with_a_few() -> Vec<u8> {
    let nobody = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 7, nobody),
        (0x02, 5, 4244),
        (0x04, 5, nobody),
        (0x10, 5, nobody),
        (0x20, 0, nobody),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, may, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(may.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// What this filesystem or namespace does not allow is left out.
fn allowed(done: io::Result<()>) -> io::Result<()> {
    match done.as_ref().map_err(io::Error::kind) {
        Err(
            io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput,
        ) => Ok(()),
        _ => done,
    }
}

/// What nobody declared. Says how many files and bytes.
pub(super) fn clutter(root: &Path) -> Result<(u64, u64)> {
    let download = root.join("home/alice/Downloads/game.iso");
    write(&download, "")?;
    let filled = File::options()
        .write(true)
        .open(&download)
        .and_then(|mut file| (0..80u8).try_for_each(|n| file.write_all(&[n; 64 << 10])));
    filled.map_err(|error| failed(&download, error))?;
    let mut files = 1;
    let mut bytes = 80 << 16;
    let mut put = |path: String, text: String| {
        files += 1;
        bytes += text.len() as u64;
        write(&root.join(path), &text)
    };
    put(IDEA.into(), IDEA_TEXT.into())?;
    put(
        "etc/quick-fix.conf".into(),
        "debug = true # remove tomorrow\n".into(),
    )?;
    put(
        "usr/local/bin/try-this".into(),
        "#!/bin/sh\ncurl somewhere | sh\n".into(),
    )?;
    for n in 0..25 {
        put(format!("var/cache/thing/{n:02}.bin"), "cached ".repeat(500))?;
    }
    let link = root.join("etc/localtime");
    symlink("/usr/share/zoneinfo/UTC", &link).map_err(|error| failed(&link, error))?;
    permit(&root.join("etc/os-release"), 0o600)?;
    Ok((files + 1, bytes))
}

/// Notes down what a store declares: everything in it but what is ours.
pub(super) fn noted(store: &Path, interrupt: &dyn Interrupt) -> Result<Inventory> {
    let is_ours = |path: &Path| path == Path::new(".state") || path == Path::new("lost+found");
    inventory::take(&view(store)?, &is_ours, interrupt)
}

fn view(dir: &Path) -> Result<View> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, dir, flags, Mode::empty())
        .map_err(|errno| Error::os(format!("opening {}", dir.display()), errno))?;
    Ok(View::live(dir))
}

fn permit(path: &Path, mode: u32) -> Result<()> {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    set.map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::os(format!("making {}", path.display()), error)
}
