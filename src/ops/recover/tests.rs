use super::*;
use crate::inventory;
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, mknodat, setxattr};
use state_api::Interrupt;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use tempfile::TempDir;

/// A past root with something of everything, and a machine that has nothing.
struct Machine {
    past: TempDir,
    root: TempDir,
}

fn open(dir: &Path) -> View {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    View::frozen(rustix::fs::open(dir, flags, Mode::empty()).unwrap())
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            past: tempfile::tempdir().unwrap(),
            root: tempfile::tempdir().unwrap(),
        };
        let lib = machine.past.path().join("var/lib");
        let app = lib.join("app");
        fs::create_dir_all(app.join("deep/er")).unwrap();
        fs::set_permissions(&lib, fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&app, fs::Permissions::from_mode(0o2750)).unwrap();
        fs::write(app.join("two\nlines"), "content").unwrap();
        fs::hard_link(app.join("two\nlines"), app.join("deep/same")).unwrap();
        setxattr(
            app.join("two\nlines"),
            "user.x",
            b"\0\n",
            XattrFlags::empty(),
        )
        .unwrap();
        symlink("/etc/passwd", app.join("link")).unwrap();
        mknodat(CWD, app.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let sparse = fs::File::create(app.join("sparse")).unwrap();
        sparse.set_len(8 << 20).unwrap();
        sparse.write_all_at(b"end", (8 << 20) - 3).unwrap();
        sparse
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(7, 123_456_789))
            .unwrap();
        machine
    }

    fn recover(&self, path: &str, to: Option<&str>) -> anyhow::Result<Report> {
        self.recover_with(&Never, false, path, to)
    }

    fn recover_with(
        &self,
        interrupt: &dyn Interrupt,
        dry_run: bool,
        path: &str,
        to: Option<&str>,
    ) -> anyhow::Result<Report> {
        let cx = Context {
            interrupt,
            dry_run,
            ..Context::below(self.root.path())
        };
        let options = Options {
            path: path.into(),
            from: None,
            to: to.map(PathBuf::from),
        };
        bring_back(
            &cx,
            &open(self.past.path()),
            "then".parse().unwrap(),
            &options,
            &crate::progress::Silent,
        )
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.at(path))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn told(error: anyhow::Error) -> String {
    format!("{error:#}")
}

#[test]
fn a_tree_comes_back_with_everything_that_belongs_to_it() {
    let machine = Machine::new();
    let report = machine.recover("/var/lib/app", None).unwrap();
    assert_eq!(report.parents, [Path::new("/var"), Path::new("/var/lib")]);
    assert_eq!(
        report.copied.map(|copied| (copied.entries, copied.dropped)),
        Some((8, vec![]))
    );
    let of = |dir: &Path| inventory::take(&open(dir), &|_| false, &Never).unwrap();
    assert_eq!(
        of(&machine.at("var/lib/app")),
        of(&machine.past.path().join("var/lib/app"))
    );
    let sparse = fs::metadata(machine.at("var/lib/app/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "holes stay holes");
    let mode = |path| fs::metadata(machine.at(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("var/lib"), mode("var/lib/app")), (0o711, 0o2750));
    assert_eq!(machine.names("var/lib"), ["app"], "nothing else is left");

    let again = machine.recover("/var/lib/app", None).unwrap();
    assert!(again.was_there && again.copied.is_none(), "{again:?}");
}

#[test]
fn one_file_comes_back_or_goes_where_it_is_wanted() {
    let machine = Machine::new();
    let path = "/var/lib/app/two\nlines";
    machine.recover(path, Some("/here/and now")).unwrap();
    assert_eq!(
        fs::read_to_string(machine.at("here/and now")).unwrap(),
        "content"
    );
    machine.recover(path, None).unwrap();
    assert!(machine.recover(path, None).unwrap().was_there);
    machine.recover("/var/lib/app/link", None).unwrap();
    let target = fs::read_link(machine.at("var/lib/app/link")).unwrap();
    assert_eq!(target, Path::new("/etc/passwd"));
}

#[test]
fn nothing_is_ever_replaced_or_reached_through_a_link() {
    let machine = Machine::new();
    fs::create_dir_all(machine.at("var/lib/app")).unwrap();
    fs::write(machine.at("var/lib/app/mine"), "mine").unwrap();
    let error = machine.recover("/var/lib/app", None).unwrap_err();
    assert_eq!(told(error), "something else is at /var/lib/app");
    assert_eq!(machine.names("var/lib/app"), ["mine"]);

    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), machine.at("escape")).unwrap();
    let error = machine
        .recover("/var/lib/app", Some("/escape/x"))
        .unwrap_err();
    assert_eq!(told(error), "/escape is no directory");
    let error = machine
        .recover("/var/lib/app", Some("/escape"))
        .unwrap_err();
    assert_eq!(told(error), "something else is at /escape");
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
}

#[test]
fn a_dry_run_and_an_interrupted_one_leave_nothing() {
    struct AfterThree(std::sync::atomic::AtomicUsize);
    impl Interrupt for AfterThree {
        fn is_set(&self) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 3
        }
    }
    let machine = Machine::new();
    let planned = machine
        .recover_with(&Never, true, "/var/lib/app", None)
        .unwrap();
    assert_eq!((planned.executed, planned.parents.len()), (false, 2));
    assert_eq!(machine.names(""), Vec::<String>::new());

    let error = machine
        .recover_with(&AfterThree(0.into()), false, "/var/lib/app", None)
        .unwrap_err();
    assert_eq!(told(error), "interrupted");
    assert_eq!(machine.names("var/lib"), Vec::<String>::new());
}
