//! Chains of archives, from their labels alone: a full archive and what builds on it.

use super::label::Label;
use super::{Error, Result};

/// The archives that `label`'s builds on, the full one first.
///
/// # Errors
/// [`Error::Missing`] if one is not among `labels`, which are one machine's at one target; or it
/// stands at another place in its chain than it must.
pub fn parents<'a>(labels: &'a [Label], label: &Label) -> Result<Vec<&'a Label>> {
    let mut chain: Vec<&Label> = Vec::new();
    let mut child = label;
    // A parent's id is less than its child's: there is an end.
    while let Some(id) = &child.parent {
        let parent = labels.iter().find(|label| label.id == *id);
        let parent = parent.ok_or_else(|| Error::Missing {
            what: format!("the archive {id}, on which {} builds,", child.id),
        })?;
        if parent.position + 1 != child.position {
            let why = format!("its label contradicts that of {}", parent.id);
            return Err(Error::damaged(child.name(), why));
        }
        chain.push(parent);
        child = parent;
    }
    chain.reverse();
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::label::{DATA, Id};
    use crate::archive::manifest::{Digest, Totals};

    fn id(n: u32) -> Id {
        format!("20270101T00000{n}Z-00000000").parse().unwrap()
    }

    fn label(n: u32, parent: Option<u32>, position: u64) -> Label {
        Label {
            machine: "blitzar".into(),
            id: id(n),
            parent: parent.map(id),
            position,
            time: chrono::DateTime::UNIX_EPOCH,
            is_complete: true,
            commit: None,
            is_dirty: false,
            totals: Totals::default(),
            suffix: DATA.into(),
            recipients: Vec::new(),
            data_bytes: 0,
            data_sha256: Digest([0; 32]),
            manifest_sha256: Digest([0; 32]),
            index_sha256: Digest([0; 32]),
        }
    }

    /// 1 is full, 2 and 3 build on it; 4 is full, 5 builds on it; 6 builds on what is not there.
    fn labels() -> Vec<Label> {
        vec![
            label(1, None, 0),
            label(2, Some(1), 1),
            label(3, Some(2), 2),
            label(4, None, 0),
            label(5, Some(4), 1),
            label(6, Some(0), 1),
            label(7, Some(3), 2),
        ]
    }

    #[test]
    fn a_chain_begins_with_a_full_archive() {
        let labels = labels();
        let chain = |n: usize| -> Result<Vec<u32>, String> {
            let chain = parents(&labels, &labels[n - 1]).map_err(|error| error.to_string())?;
            Ok((1..8)
                .filter(|n| chain.iter().any(|l| l.id == id(*n)))
                .collect())
        };
        assert_eq!(chain(1), Ok(vec![]));
        assert_eq!(chain(3), Ok(vec![1, 2]));
        assert_eq!(chain(5), Ok(vec![4]));
        assert_eq!(
            chain(6).unwrap_err(),
            "the archive 20270101T000000Z-00000000, on which 20270101T000006Z-00000000 builds, \
             does not exist"
        );
        assert_eq!(
            chain(7).unwrap_err(),
            "blitzar/20270101T000007Z-00000000.txt: its label contradicts that of \
             20270101T000003Z-00000000"
        );
    }
}
