use super::*;
use std::path::Path;

fn target(dir: &Path) -> FileTarget {
    FileTarget::open(&format!("file://{}", dir.display()), dir.to_owned()).unwrap()
}

fn put(target: &FileTarget, name: &str, bytes: &[u8]) -> Result<()> {
    let mut upload = target.put(name)?;
    upload.write_all(bytes).unwrap();
    upload.finish()
}

fn names(target: &FileTarget) -> Vec<String> {
    let objects = target.list("").unwrap();
    objects.into_iter().map(|object| object.name).collect()
}

#[test]
fn an_object_is_there_whole_or_not_at_all() {
    for always_named in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut target = target(dir.path());
        target.always_named = always_named;
        let mut upload = target.put("m/a.txt").unwrap();
        upload.write_all(b"half").unwrap();
        assert_eq!(names(&target), Vec::<String>::new());
        drop(upload);
        assert_eq!(std::fs::read_dir(dir.path().join("m")).unwrap().count(), 0);

        put(&target, "m/a.txt", b"whole").unwrap();
        put(&target, "other/b.txt", b"").unwrap();
        assert_eq!(names(&target), ["m/a.txt", "other/b.txt"]);
        let listed = target.list("m/").unwrap();
        let wanted = Object {
            name: "m/a.txt".into(),
            bytes: 5,
        };
        assert_eq!(listed, [wanted]);
        let source = target.get("m/a.txt").unwrap();
        assert_eq!(source.read(1, 3).unwrap(), b"hol");
        assert!(source.read(1, 5).is_err());
        assert!(source.read(u64::MAX, 5).is_err());

        assert!(put(&target, "m/a.txt", b"other").is_err());
        // Two that began before either was there.
        let mut late = target.put("m/c.txt").unwrap();
        late.write_all(b"late").unwrap();
        if always_named {
            assert!(target.put("m/c.txt").is_err());
            late.finish().unwrap();
        } else {
            put(&target, "m/c.txt", b"early").unwrap();
            assert!(late.finish().is_err());
            assert_eq!(target.get("m/c.txt").unwrap().length(), 5);
        }
        assert_eq!(target.delete("m/a.txt").unwrap(), Outcome::Made);
        assert_eq!(target.delete("m/a.txt").unwrap(), Outcome::AlreadySo);
        assert!(matches!(target.get("m/a.txt"), Err(Error::Missing { .. })));
    }
}

#[test]
fn what_a_killed_run_left_is_swept_and_never_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = target(dir.path());
    target.always_named = true;
    let upload = target.put("m/a.tar.zst").unwrap();
    std::mem::forget(upload); // as a kill does
    assert_eq!(names(&target), Vec::<String>::new());
    assert_eq!(target.sweep("m/").unwrap(), 1);
    assert_eq!(target.sweep("m/").unwrap(), 0);
    assert_eq!(target.sweep("nobody/").unwrap(), 0);
}

#[test]
fn names_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path());
    for name in [
        "a", "../a", "m/../a", "m/a/b", ".m/a", "m/.a", "/a", "m/", "m/a b", "m/a\n",
    ] {
        assert!(target.put(name).is_err(), "{name:?}");
        assert!(target.get(name).is_err(), "{name:?}");
        assert!(target.delete(name).is_err(), "{name:?}");
    }
    std::os::unix::fs::symlink("/", dir.path().join("m")).unwrap();
    assert!(target.put("m/a").is_err());
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let error = FileTarget::open("file:///nonexistent/usb", "/nonexistent/usb".into()).unwrap_err();
    let hint = "mount the disk, or make the directory: mkdir -p /nonexistent/usb";
    assert_eq!(error.hint().as_deref(), Some(hint));
}

/// What cannot be looked into may hold anything: it is never taken for nothing.
#[test]
fn a_machines_directory_that_cannot_be_opened_is_told() {
    use rustix::fs::chmod;
    use rustix::process::{Gid, Uid, geteuid};
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path());
    put(&target, "blitzar/20270101T000000Z-00000000.txt", b"x").unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    chmod(dir.path(), Mode::from(0o755)).unwrap();
    let lock = |mode: u32| {
        for name in ["blitzar", "lost+found"] {
            chmod(dir.path().join(name), Mode::from(mode)).unwrap();
        }
    };
    let listed = |prefix: &'static str| {
        let list = || {
            target
                .list(prefix)
                .map(|objects| objects.len())
                .map_err(|e| e.told())
        };
        let as_nobody = || {
            // Of this thread alone.
            if geteuid().is_root() {
                let (nobody, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            list()
        };
        std::thread::scope(|scope| scope.spawn(as_nobody).join().unwrap())
    };
    lock(0o000);
    let why = format!(
        "opening {}: permission denied",
        dir.path().join("blitzar").display()
    );
    for prefix in ["blitzar/", "", "bl"] {
        assert_eq!(listed(prefix), Err(why.clone()), "{prefix}");
    }
    // Another's directory is of no concern.
    assert_eq!(listed("blitz/"), Ok(0));
    lock(0o700);
    assert_eq!(target.list("").unwrap().len(), 1);
}
