use super::*;
use crate::persist::{PersistTree, Users};
use crate::progress::heard::{Heard, Stage};
use state_api::Never;

#[test]
fn filling_says_how_far_it_is() {
    let (root, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(root.path().join("var/lib/sub")).unwrap();
    fs::write(root.path().join("var/lib/a"), vec![7; 300_000]).unwrap();
    fs::write(root.path().join("var/lib/sub/z"), "x").unwrap();
    let text = "[persist.\"/persist\"]\ndirectories = [\"/var/lib\"]";
    let settings = crate::config::parse_text(Path::new("state.toml"), text).unwrap();
    let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
    let entry = tree.entry(Path::new("/var/lib")).unwrap();
    let open = |dir: &tempfile::TempDir| Anchor::open(dir.path()).unwrap();
    let between = Between {
        root: &open(&root),
        store: &open(&store),
        inner: &|_| false,
    };
    let heard = Heard::default();
    let watch = Watch {
        interrupt: &Never,
        progress: &heard,
    };
    let mut journal = Journal::read(between.store).unwrap();
    let found = between.look(entry, &journal, watch).unwrap();
    let Ok(Finding::Copy { bytes, .. }) = found else {
        panic!("{found:?}")
    };
    assert!(bytes > 300_000, "{bytes}");
    between.fill(entry, bytes, &mut journal, watch).unwrap();
    between.look(entry, &journal, watch).unwrap().unwrap();
    let stage = |doing: &str, total, done, path: &str| Stage {
        doing: doing.into(),
        total,
        done,
        path: path.into(),
    };
    let (measuring, comparing) = ("measuring /var/lib", "comparing /var/lib with its copy");
    assert_eq!(
        heard.stages(),
        [
            stage(measuring, Total::Unknown, 4, "sub/z"),
            stage("copying /var/lib", Total::About(bytes), bytes, "sub/z"),
            stage(comparing, Total::About(4), 4, "sub/z"),
            stage(comparing, Total::Unknown, 4, "sub/z"),
        ]
    );
}
