//! What changed since an archive: the same, however it is looked for.

use super::parts;
use state::archive::Result;
use state::archive::label::Label;
use state::archive::machine::Machine;
use state::archive::manifest::{Parent, Record};
use state::archive::older::Older;
use state::archive::read::Archive;
use state::archive::select::Selection;
use state::archive::write::{Before, Input, Since, Told, Written, places};
use state_api::{Changes, Extent, Never, View};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// An archive of a store, in memory.
pub(crate) struct Archived {
    machine: Machine,
    data: Vec<u8>,
    label: Label,
    written: Written,
}

impl Archived {
    pub(crate) fn of(store: &View) -> Self {
        let machine = parts::machine(&["/persist"]);
        let mut data = Vec::new();
        let written = parts::write(2, &machine, &[store], &mut data, &Never).unwrap();
        let label = parts::label(&machine, &data, &written);
        Self {
            machine,
            data,
            label,
            written,
        }
    }

    /// What a filesystem tells must lead to what a walk of everything finds, and to the same archive; so must
    /// each form of the older manifest.
    #[track_caller]
    pub(crate) fn check(&self, what: &str, new: &View, told: Told) {
        let archive = Archive::open(&self.data, &self.label).unwrap();
        let records = || archive.records().map(|record| Ok(record?.0));
        let list: Vec<Record> = records().collect::<Result<_>>().unwrap();
        let selection = Selection::all();
        let inputs = [Input {
            view: new,
            selection: &selection,
        }];
        // A function could not say how long all of this has to live.
        macro_rules! at {
            ($older:expr) => {{
                let told = match &told {
                    Told::Places(places) => Told::Places(places.clone()),
                    Told::Inodes(inodes) => Told::Inodes(inodes.clone()),
                };
                let older = || -> Result<Older<'_>> { Ok($older) };
                places(&inputs, vec![told], older, &Never)
                    .unwrap()
                    .remove(0)
            }};
        }
        let again = at!(parts::lines(&list));
        let mut told = at!(Older::records(records()));
        assert_eq!(told, again, "{what}, by its lines");
        for left_out in &self.written.left_out {
            let path = left_out.path.0.strip_prefix(b"./").unwrap();
            told.add(OsStr::from_bytes(path).into(), Extent::Alone);
        }
        let told = [told];
        macro_rules! look {
            ($older:expr, $places:expr) => {{
                let older = || -> Result<Older<'_>> { Ok($older) };
                let before = Before {
                    parents: vec![Parent {
                        id: "20261121T103705Z-3f6a90c1".into(),
                        index_sha256: self.written.index_sha256,
                    }],
                    begun: 1 << 40, // after all that happens here
                    older: &older,
                };
                let places: Option<&[Changes]> = $places;
                let since = Since::look(&inputs, &before, places, &Never).unwrap();
                let (data, _) = parts::write_since(&self.machine, &inputs, &before, &since);
                (format!("{since:#?}"), data)
            }};
        }
        let walked = look!(Older::records(records()), None);
        for (how, found) in [
            ("places", look!(Older::records(records()), Some(&told))),
            ("lines", look!(parts::lines(&list), None)),
            ("places in lines", look!(parts::lines(&list), Some(&told))),
        ] {
            assert_eq!(found.0, walked.0, "{what}, {how}");
            assert!(found.1 == walked.1, "{what}, {how}: another archive");
        }
    }
}
