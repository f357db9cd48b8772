//! The acts a plan is made of.

use crate::Property;
use serde::Serialize;
use std::fmt;

/// One act of ZFS.
///
/// A thing that a step moves or destroys is named *and* identified by its guid: a plan never acts
/// on something that took over a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Makes the dataset that past roots are children of; it is never mounted.
    Create {
        /// Its name.
        dataset: String,
    },
    /// Takes snapshots, in one transaction.
    Snapshot {
        /// Their full names.
        names: Vec<String>,
    },
    /// Renames a dataset with its children, or a snapshot.
    Rename {
        /// Its name now.
        from: String,
        /// Its name then.
        to: String,
        /// Its guid; `None` if an earlier step of the same plan made it.
        guid: Option<u64>,
        /// How the machine gets its root back when this fails.
        #[serde(skip_serializing_if = "Option::is_none")]
        undo: Option<Undo>,
    },
    /// Makes a clone, not mounted.
    Clone {
        /// The snapshot.
        snapshot: String,
        /// The clone.
        to: String,
        /// Its local properties.
        properties: Vec<Property>,
        /// How the machine gets its root back when this fails.
        undo: Option<Undo>,
    },
    /// Brings the snapshot a clone came from, and those older than it, over to the clone.
    Promote {
        /// The clone.
        dataset: String,
        /// The guid of the snapshot it is a clone of.
        origin_guid: u64,
    },
    /// Sets local properties, all at once.
    Set {
        /// The dataset.
        dataset: String,
        /// The properties.
        properties: Vec<Property>,
    },
    /// Removes a local property.
    Inherit {
        /// The dataset.
        dataset: String,
        /// The property's name.
        property: String,
    },
    /// Makes the pool boot from root again, not from the past root it became.
    SetBootfs {
        /// The pool.
        pool: String,
        /// The dataset.
        dataset: String,
    },
    /// Destroys one snapshot, one bookmark, or one dataset that has neither snapshots nor
    /// children.
    Destroy {
        /// Its name.
        name: String,
        /// Its guid.
        guid: u64,
    },
    /// Gives up everything in a dataset that is newer than its newest snapshot.
    Rollback {
        /// The snapshot.
        snapshot: String,
        /// Its guid.
        guid: u64,
    },
}

/// What a failed step puts back that would have made root: the outgoing root gets its name again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undo {
    /// The root's name.
    pub root: String,
    /// The name the outgoing root has now.
    pub outgoing: String,
    /// The outgoing root's guid.
    pub guid: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { dataset } => write!(f, "create {dataset}"),
            Self::Snapshot { names } => write!(f, "snapshot {}", names.join(", ")),
            Self::Rename { from, to, .. } => write!(f, "rename {from} to {to}"),
            Self::Clone { snapshot, to, .. } => write!(f, "clone {snapshot} to {to}"),
            Self::Promote { dataset, .. } => write!(f, "promote {dataset}"),
            Self::Set {
                dataset,
                properties,
            } => {
                let assignments: Vec<_> = properties
                    .iter()
                    .map(|p| format!("{}={}", p.name, p.value))
                    .collect();
                write!(f, "set {} of {dataset}", assignments.join(", "))
            }
            Self::Inherit { dataset, property } => write!(f, "remove {property} of {dataset}"),
            Self::SetBootfs { pool, dataset } => write!(f, "boot {pool} from {dataset}"),
            Self::Destroy { name, .. } => write!(f, "destroy {name}"),
            Self::Rollback { snapshot, .. } => write!(f, "roll back to {snapshot}"),
        }
    }
}
