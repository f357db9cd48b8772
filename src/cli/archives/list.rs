//! A list of archives, as people read it.

use super::{remarks, strange};
use crate::cli::Screen;
use crate::cli::backup::short;
use crate::cli::output::{BAD, FAINT, WARN};
use crate::cli::size::size;
use crate::cli::table::{Column, Table};
use crate::ops::archives::{List, Listed};
use anstyle::Style;
use std::io::{self, Write as _};

/// What to know of an archive in a list, where the chain is to be seen and who can read it is not.
fn listed_remarks(archive: &Listed) -> String {
    let chain = archive
        .parent
        .as_ref()
        .map(|parent| format!("builds on {parent}"));
    let remarks = Some(remarks(archive)).filter(|remarks| !remarks.is_empty());
    chain
        .into_iter()
        .chain(remarks)
        .chain((!archive.encrypted_to.is_empty()).then(|| "encrypted".to_owned()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The list as people read it.
///
/// # Errors
/// The screen's.
pub(super) fn human(list: &List, out: &mut Screen<'_>) -> io::Result<()> {
    let mut columns = vec![("target", Column::Flexible)];
    columns.extend([
        ("id", Column::Left),
        ("age", Column::Left),
        ("content", Column::Right),
        ("stored", Column::Right),
        ("config", Column::Left),
        ("", Column::Left),
    ]);
    let mut table = Table::new(columns);
    for archive in &list.archives {
        let style = match (&archive.broken, archive.is_complete) {
            (Some(_), _) => BAD,
            (None, true) => Style::new(),
            (None, false) => WARN,
        };
        let mut row = vec![(archive.target.clone(), style)];
        let commit = archive.commit.as_deref().map_or("-", short);
        row.extend([
            (archive.id.clone(), style),
            (out.age(archive.time), style),
            (size(archive.bytes), style),
            (size(archive.data_bytes), style),
            (commit.to_owned(), style),
            (listed_remarks(archive), FAINT),
        ]);
        table.styled(row);
    }
    if table.is_empty() {
        writeln!(out, "no archives")?;
    } else {
        table.print(out)?;
    }
    strange(&list.odd, out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::listed;
    use super::*;
    use crate::ops::archives::Odd;

    #[test]
    fn a_list_shows_what_can_be_relied_on() {
        let list = List {
            archives: vec![
                listed("20261121T100000Z-3f6a90c1", true),
                listed("20261121T100001Z-3f6a90c1", false),
                Listed {
                    parent: Some("20261121T100000Z-3f6a90c1".into()),
                    position: 1,
                    broken: Some("its data is 7 bytes long, not 345678".into()),
                    ..listed("20261121T100002Z-3f6a90c1", true)
                },
            ],
            odd: vec![Odd {
                target: "usb".into(),
                object: Some("blitzar/x.txt".into()),
                why: "not the label of an archive".into(),
            }],
        };
        assert_eq!(
            Screen::text(None, |out| human(&list, out)),
            "target  id                         age          content   stored  config\n\
             usb     20261121T100000Z-3f6a90c1  2 hours ago  1.0 MiB  338 KiB  0123456789ab  unsigned\n\
             usb     20261121T100001Z-3f6a90c1  2 hours ago  1.0 MiB  338 KiB  -             incomplete, unsigned\n\
             usb     20261121T100002Z-3f6a90c1  2 hours ago  1.0 MiB  338 KiB  0123456789ab  \
             builds on 20261121T100000Z-3f6a90c1, broken: its data is 7 bytes long, not 345678, \
             unsigned\n\
             note usb/blitzar/x.txt: not the label of an archive\n"
        );
        let none = List {
            archives: Vec::new(),
            odd: Vec::new(),
        };
        assert_eq!(Screen::text(None, |out| human(&none, out)), "no archives\n");
    }
}
