//! What `zfs` and `zpool` print with `-Hp`, as values. Pure.

use crate::layout::split;
use crate::{Dataset, DatasetKind, Pool, Property, ZfsSnapshot};
use state_api::{Error, Result};

/// Columns of [`datasets`].
pub(super) const DATASET_COLUMNS: &str =
    "name,type,guid,createtxg,creation,origin,encryptionroot,keystatus";
/// Columns of [`snapshots`].
pub(super) const SNAPSHOT_COLUMNS: &str = "name,guid,createtxg,creation,userrefs,clones";
/// Columns of [`properties`]: the value last, because it may hold anything.
pub(super) const PROPERTY_COLUMNS: &str = "name,property,source,value";

pub(super) fn datasets(text: &str) -> Result<Vec<Dataset>> {
    let mut datasets = text.lines().map(dataset).collect::<Result<Vec<_>>>()?;
    // Parents first: `/` sorts as the lowest letter of a component.
    datasets.sort_by(|a, b| a.name.split('/').cmp(b.name.split('/')));
    Ok(datasets)
}

fn dataset(line: &str) -> Result<Dataset> {
    let [
        name,
        kind,
        guid,
        createtxg,
        creation,
        origin,
        encryption_root,
        key_status,
    ] = fields("a line of `zfs list`", line)?;
    Ok(Dataset {
        name: name.to_owned(),
        kind: match kind {
            "filesystem" => DatasetKind::Filesystem,
            "volume" => DatasetKind::Volume,
            _ => return Err(malformed("a dataset's type", kind)),
        },
        guid: number(guid)?,
        createtxg: number(createtxg)?,
        creation_seconds: number(creation)?,
        origin: some(origin),
        mounted_at: Vec::new(),
        encryption_root: some(encryption_root),
        has_loaded_key: key_status == "available",
        properties: Vec::new(),
    })
}

/// The snapshots and bookmarks, oldest first, and how many holds each has.
pub(super) fn snapshots(text: &str) -> Result<Vec<(ZfsSnapshot, u64)>> {
    let snapshot = |line| {
        let [name, guid, createtxg, creation, holds, clones] =
            fields("a line of `zfs list -t snapshot`", line)?;
        let snapshot = ZfsSnapshot {
            name: name.to_owned(),
            guid: number(guid)?,
            createtxg: number(createtxg)?,
            creation_seconds: number(creation)?,
            clones: some(clones)
                .map(|clones| clones.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            holds: Vec::new(),
        };
        Ok((snapshot, some(holds).map_or(Ok(0), |holds| number(&holds))?))
    };
    let mut found = text.lines().map(snapshot).collect::<Result<Vec<_>>>()?;
    found.sort_by(|(a, _), (b, _)| (a.createtxg, &a.name).cmp(&(b.createtxg, &b.name)));
    Ok(found)
}

/// Columns of [`states`].
pub(super) const STATE_COLUMNS: &str = "name,guid,createtxg,creation,written";

/// A snapshot, and the oldest one of the same dataset that holds the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The snapshot's full name.
    pub(crate) name: String,
    /// The transaction group that made it.
    pub(crate) createtxg: u64,
    /// `creation`, seconds since 1970.
    pub(crate) creation_seconds: i64,
    /// How much was written since the one before, in bytes.
    pub(crate) written: u64,
    /// The guid of the oldest one that holds the same.
    pub(crate) unchanged_since: u64,
}

/// The snapshots of a dataset and of those below it. Nothing written since the snapshot before
/// means that both hold the same.
pub(super) fn states(text: &str) -> Result<Vec<State>> {
    let row = |line| {
        let [name, guid, createtxg, creation, written] =
            fields("a line of `zfs list -t snapshot`", line)?;
        Ok(State {
            name: name.to_owned(),
            createtxg: number(createtxg)?,
            creation_seconds: number(creation)?,
            written: number(written)?,
            unchanged_since: number(guid)?,
        })
    };
    let mut rows = text.lines().map(row).collect::<Result<Vec<_>>>()?;
    rows.sort_by(|a, b| {
        let key = |state: &State| (split(&state.name).0.to_owned(), state.createtxg);
        key(a).cmp(&key(b))
    });
    let mut states: Vec<State> = Vec::new();
    for mut state in rows {
        if let Some(before) = states.last()
            && state.written == 0
            && split(&before.name).0 == split(&state.name).0
        {
            state.unchanged_since = before.unchanged_since;
        }
        states.push(state);
    }
    Ok(states)
}

/// Gives each dataset the properties that `text` says are set on it.
///
/// A value may hold line ends and tabs. A line that is no record of a dataset we know continues
/// the value before it.
pub(super) fn properties(text: &str, datasets: &mut [Dataset]) {
    let mut last: Option<usize> = None;
    for line in text.split_terminator('\n') {
        let mut fields = line.splitn(4, '\t');
        let record = (fields.next(), fields.next(), fields.next(), fields.next());
        let known = |name: &str| datasets.iter().position(|d| d.name == name);
        match record {
            (Some(name), Some(property), Some("local" | "received"), Some(value))
                if known(name).is_some() =>
            {
                last = known(name);
                if let Some(at) = last {
                    datasets[at].properties.push(Property::new(property, value));
                }
            }
            _ => {
                let value = last.and_then(|at| datasets[at].properties.last_mut());
                if let Some(property) = value {
                    property.value.push('\n');
                    property.value.push_str(line);
                }
            }
        }
    }
    for dataset in datasets {
        dataset.properties.sort();
    }
}

/// The properties `guid`, `readonly` and `bootfs` of a pool.
pub(super) fn pool(name: &str, text: &str) -> Result<Pool> {
    let value = |wanted: &str| {
        text.lines()
            .filter_map(|line| line.split_once('\t'))
            .find_map(|(property, value)| (property == wanted).then_some(value))
            .ok_or_else(|| malformed("the output of `zpool get`", text))
    };
    Ok(Pool {
        name: name.to_owned(),
        guid: number(value("guid")?)?,
        is_read_only: value("readonly")? == "on",
        bootfs: some(value("bootfs")?),
    })
}

/// The tags of holds, by snapshot.
pub(super) fn holds(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            Some((fields.next()?, fields.next()?))
        })
        .collect()
}

fn fields<'a, const N: usize>(what: &str, line: &'a str) -> Result<[&'a str; N]> {
    let fields: Vec<_> = line.split('\t').collect();
    fields.try_into().map_err(|_| malformed(what, line))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| malformed("a number of ZFS", text))
}

fn some(text: &str) -> Option<String> {
    (!matches!(text, "" | "-")).then(|| text.to_owned())
}

fn malformed(what: &str, text: &str) -> Error {
    Error::Malformed {
        what: what.to_owned(),
        why: format!("{text:?} is not understood"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_come_parents_first() {
        let text = "p/a b\tfilesystem\t12\t9\t1700000000\t-\t-\t-\n\
                    p/a-x\tvolume\t14\t11\t1700000002\tp/a b@s\tp\tavailable\n\
                    p/a b/c\tfilesystem\t13\t10\t1700000001\t-\t\t-\n\
                    p\tfilesystem\t10\t1\t1700000000\t-\t-\t-\n";
        let names = |d: &Dataset| d.name.clone();
        let found = datasets(text).unwrap();
        assert_eq!(
            found.iter().map(names).collect::<Vec<_>>(),
            ["p", "p/a b", "p/a b/c", "p/a-x"]
        );
        assert_eq!(
            found[3],
            Dataset {
                name: "p/a-x".into(),
                kind: DatasetKind::Volume,
                guid: 14,
                createtxg: 11,
                creation_seconds: 1_700_000_002,
                origin: Some("p/a b@s".into()),
                mounted_at: vec![],
                encryption_root: Some("p".into()),
                has_loaded_key: true,
                properties: vec![],
            }
        );
        for broken in [
            "p",
            "p\tfilesystem\tx\t1\t1\t-\t-\t-",
            "p\tsnapshot\t1\t1\t1\t-\t-\t-",
        ] {
            assert!(datasets(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn snapshots_come_oldest_first_and_bookmarks_among_them() {
        let text = "p@new\t3\t30\t1700000003\t1\tp/x,p/y z\n\
                    p@old\t1\t10\t1700000001\t0\t\n\
                    p#mark\t1\t10\t1700000001\t-\t-\n";
        let found = snapshots(text).unwrap();
        let names: Vec<_> = found.iter().map(|(s, holds)| (&*s.name, *holds)).collect();
        assert_eq!(names, [("p#mark", 0), ("p@old", 0), ("p@new", 1)]);
        assert_eq!(found[2].0.clones, ["p/x", "p/y z"]);
    }

    #[test]
    fn equal_states_are_known() {
        let text = "p@b\t2\t20\t7\t0\np@a\t1\t10\t6\t0\np/c@a\t3\t10\t6\t0\n\
                    p@c\t4\t30\t8\t512\np@d\t5\t40\t9\t0\n";
        let found = states(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|s| (&*s.name, s.unchanged_since))
            .collect();
        assert_eq!(
            found,
            [("p@a", 1), ("p@b", 1), ("p@c", 4), ("p@d", 4), ("p/c@a", 3)]
        );
    }

    #[test]
    fn values_may_hold_anything() {
        let text = "p\ta:b\tlocal\tone\ttab\nand a line\n\np/none\ta:c\tlocal\tx\n\
                    p\tatime\treceived\toff\n";
        let mut found = datasets("p\tfilesystem\t1\t1\t1\t-\t-\t-\n").unwrap();
        properties(text, &mut found);
        assert_eq!(
            found[0].properties,
            [
                Property::new("a:b", "one\ttab\nand a line\n\np/none\ta:c\tlocal\tx"),
                Property::new("atime", "off"),
            ]
        );
    }

    #[test]
    fn pools_and_holds() {
        let text = "guid\t77\nreadonly\toff\nbootfs\tp/root 1\n";
        assert_eq!(
            pool("p", text).unwrap(),
            Pool {
                name: "p".into(),
                guid: 77,
                is_read_only: false,
                bootfs: Some("p/root 1".into()),
            }
        );
        assert!(pool("p", "guid\t77\n").is_err());
        assert_eq!(
            holds("p/a b@s\tkeep\tTue Jan 2\np@t\ta tag\tTue\n"),
            [("p/a b@s", "keep"), ("p@t", "a tag")]
        );
    }
}
