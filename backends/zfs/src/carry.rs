//! Which of root's properties its successor gets, and when.

use crate::layout::PENDING;
use crate::survey::{is_retired, property};
use crate::{Dataset, Property, Step};

/// Properties that a clone has from its origin and that cannot be given to it (zfsprops(7):
/// "cannot be changed after the file system is created", and those of an encryption root, which
/// `promote` hands over itself).
const FIXED: [&str; 10] = [
    "casesensitivity",
    "encryption",
    "keyformat",
    "keylocation",
    "normalization",
    "pbkdf2iters",
    "pbkdf2salt",
    "utf8only",
    "version",
    "volblocksize",
];

/// Properties that wait until the outgoing root has given them up, or (`canmount`) until nothing
/// can mount a root that is not finished.
const LATE: [&str; 3] = ["canmount", "refreservation", "reservation"];

/// The local properties that a successor of `dataset` has in the end.
pub(crate) fn carried(dataset: &Dataset) -> Vec<Property> {
    let was_retired = is_retired(dataset);
    let mut properties: Vec<Property> = dataset
        .properties
        .iter()
        .filter(|p| !FIXED.contains(&p.name.as_str()))
        .filter(|p| !p.name.starts_with("org.state:"))
        // It was set when the dataset was put away; nothing says what it was before.
        .filter(|p| !(was_retired && p.name == "readonly"))
        .cloned()
        .collect();
    for pending in pending(dataset) {
        properties.retain(|p| p.name != pending.name);
        properties.push(pending);
    }
    properties.sort();
    properties
}

/// What the clone is made with: nothing that mounts it or takes space twice. What has to wait is
/// written down in the clone itself, so that an interrupted reset is finished right.
pub(crate) fn at_birth(carried: &[Property]) -> Vec<Property> {
    let value = |name: &str| carried.iter().find(|p| p.name == name).map(|p| &*p.value);
    let never_mounted = matches!(value("mountpoint"), Some("legacy" | "none"))
        || matches!(value("canmount"), Some("noauto" | "off"));
    let mut properties = Vec::new();
    for property in carried {
        let waits = match property.name.as_str() {
            "canmount" => !never_mounted,
            name => LATE.contains(&name) && property.value != "0",
        };
        if waits {
            properties.push(Property::new(
                format!("{PENDING}{}", property.name),
                &property.value,
            ));
        } else {
            properties.push(property.clone());
        }
    }
    if !never_mounted {
        properties.push(Property::new("canmount", "noauto"));
        if value("canmount").is_none() {
            properties.push(Property::new(format!("{PENDING}canmount"), "on"));
        }
    }
    properties.sort();
    properties
}

/// The properties a dataset still waits for.
fn pending(dataset: &Dataset) -> Vec<Property> {
    LATE.iter()
        .filter_map(|name| {
            let value = property(dataset, &format!("{PENDING}{name}"))?;
            Some(Property::new(*name, value))
        })
        .collect()
}

/// The steps that give a dataset what it waits for.
pub(crate) fn complete(dataset: &str, properties: &[Property]) -> Vec<Step> {
    let waiting = properties.iter().filter_map(|p| {
        let name = p.name.strip_prefix(PENDING)?;
        Some((name, p))
    });
    waiting
        .flat_map(|(name, p)| {
            [
                Step::Set {
                    dataset: dataset.to_owned(),
                    properties: vec![Property::new(name, &p.value)],
                },
                Step::Inherit {
                    dataset: dataset.to_owned(),
                    property: p.name.clone(),
                },
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DatasetKind;

    fn dataset(properties: &[(&str, &str)]) -> Dataset {
        Dataset {
            name: "p/root".into(),
            kind: DatasetKind::Filesystem,
            guid: 1,
            createtxg: 1,
            creation_seconds: 0,
            origin: None,
            mounted_at: Vec::new(),
            encryption_root: None,
            has_loaded_key: false,
            properties: properties
                .iter()
                .map(|(name, value)| Property::new(*name, *value))
                .collect(),
        }
    }

    /// What a root had, what its successor has in the end, what it is made with.
    type Case = (
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
        &'static [&'static str],
    );

    fn text(properties: &[Property]) -> Vec<String> {
        let one = |p: &Property| format!("{}={}", p.name, p.value);
        properties.iter().map(one).collect()
    }

    #[test]
    fn a_successor_gets_what_was_set_and_can_be_set() {
        let cases: [Case; 6] = [
            (
                &[("mountpoint", "legacy"), ("atime", "off"), ("a:b", "c d")],
                &["a:b=c d", "atime=off", "mountpoint=legacy"],
                &["a:b=c d", "atime=off", "mountpoint=legacy"],
            ),
            (
                &[("canmount", "noauto"), ("mountpoint", "/")],
                &["canmount=noauto", "mountpoint=/"],
                &["canmount=noauto", "mountpoint=/"],
            ),
            (
                &[("mountpoint", "/")],
                &["mountpoint=/"],
                &[
                    "canmount=noauto",
                    "mountpoint=/",
                    "org.state:pending-canmount=on",
                ],
            ),
            (
                &[
                    ("canmount", "on"),
                    ("reservation", "4096"),
                    ("keylocation", "prompt"),
                ],
                &["canmount=on", "reservation=4096"],
                &[
                    "canmount=noauto",
                    "org.state:pending-canmount=on",
                    "org.state:pending-reservation=4096",
                ],
            ),
            (
                &[
                    ("canmount", "noauto"),
                    ("mountpoint", "/"),
                    ("org.state:pending-canmount", "on"),
                    ("org.state:pinned", "on"),
                ],
                &["canmount=on", "mountpoint=/"],
                &[
                    "canmount=noauto",
                    "mountpoint=/",
                    "org.state:pending-canmount=on",
                ],
            ),
            (
                &[("canmount", "noauto"), ("readonly", "on")],
                &["canmount=noauto"],
                &["canmount=noauto"],
            ),
        ];
        for (had, carries, born_with) in cases {
            let properties = carried(&dataset(had));
            assert_eq!(text(&properties), carries, "{had:?}");
            assert_eq!(text(&at_birth(&properties)), born_with, "{had:?}");
        }
    }

    #[test]
    fn what_waits_is_given_and_forgotten() {
        let waiting = at_birth(&carried(&dataset(&[("refreservation", "512")])));
        let steps: Vec<_> = complete("p/root", &waiting)
            .iter()
            .map(Step::to_string)
            .collect();
        assert_eq!(
            steps,
            [
                "set canmount=on of p/root",
                "remove org.state:pending-canmount of p/root",
                "set refreservation=512 of p/root",
                "remove org.state:pending-refreservation of p/root",
            ]
        );
    }
}
