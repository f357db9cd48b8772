//! What came of the last boots. The boot record is gone with the next boot; this is kept in the first
//! store that is no cache, as `.state/boots.json`, by the unit that checks each boot. Documented in
//! docs/boot.md.

use super::Reset;
use crate::context::Context;
use crate::engine;
use crate::record::Record;
use crate::settings::Settings;
use crate::whole;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use state_linux::lock::Lock;
use std::io;
use std::path::{Path, PathBuf};

/// The version that this program writes.
const VERSION: u32 = 1;
/// So many are remembered.
const MOST: usize = 20;

/// The last boots, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boots {
    version: u32,
    boots: Vec<Boot>,
}

/// What came of a boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// The boot's id.
    pub boot_id: String,
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// Why it was not reset; `null` if it was.
    pub why_not: Option<String>,
    /// What the reset recorded.
    pub record: Option<Record>,
}

/// The last boots at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Glance {
    /// How many are remembered.
    pub remembered: usize,
    /// How many of them were not reset.
    pub not_reset: usize,
    /// The newest of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<DateTime<Utc>>,
}

impl Default for Boots {
    fn default() -> Self {
        Self {
            version: VERSION,
            boots: Vec::new(),
        }
    }
}

impl Boots {
    /// Reads them; none if there are none yet.
    ///
    /// # Errors
    /// They cannot be read, are damaged, or a newer version wrote them.
    pub fn read(cx: &Context, settings: &Settings) -> Result<Self> {
        path(cx, settings).map_or_else(|| Ok(Self::default()), |path| Self::read_at(&path))
    }

    fn read_at(path: &Path) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::os(format!("reading {}", path.display()), error)),
        };
        Self::parse(&text).map_err(|why| Error::Malformed {
            what: path.display().to_string(),
            why,
        })
    }

    fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let boots: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match boots.version {
            0..=VERSION => Ok(boots),
            newer => Err(format!("a newer state wrote it (version {newer})")),
        }
    }

    /// Remembers this boot, in the place of what was known of it.
    ///
    /// # Errors
    /// They cannot be read or written. What cannot be read is never written over.
    pub fn remember(cx: &Context, settings: &Settings, boot: Boot) -> Result<Self> {
        let Some(path) = path(cx, settings) else {
            return Ok(Self::default());
        };
        let failed = |error| Error::os(format!("writing {}", path.display()), error);
        let dir = whole::make_parent(&path).map_err(failed)?;
        let _lock = Lock::wait_for_directory(dir).map_err(failed)?;
        let mut boots = Self::read_at(&path)?;
        boots.add(boot);
        let mut text = serde_json::to_vec_pretty(&boots).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        whole::replace(&path, 0o600, &text).map_err(failed)?;
        Ok(boots)
    }

    fn add(&mut self, boot: Boot) {
        self.boots.retain(|old| old.boot_id != boot.boot_id);
        self.boots.push(boot);
        let surplus = self.boots.len().saturating_sub(MOST);
        self.boots.drain(..surplus);
    }

    /// Them at a glance.
    pub fn glance(&self) -> Glance {
        let not_reset = || self.boots.iter().filter(|boot| boot.why_not.is_some());
        Glance {
            remembered: self.boots.len(),
            not_reset: not_reset().count(),
            newest: not_reset().next_back().map(|boot| boot.at),
        }
    }
}

impl Boot {
    /// This boot; `None` where nothing has to be reset.
    pub fn this(cx: &Context, reset: &Reset, record: Option<&Record>) -> Option<Self> {
        let why_not = match reset {
            Reset::Done => None,
            Reset::NotDone { why, .. } => Some(why.clone()),
            Reset::NotDeclared | Reset::NotRunning => return None,
        };
        Some(Self {
            boot_id: cx.boot_id.clone(),
            at: cx.now,
            why_not,
            record: record.cloned(),
        })
    }
}

/// Where they are kept; nowhere if all stores are caches.
fn path(cx: &Context, settings: &Settings) -> Option<PathBuf> {
    let store = engine::home(&settings.persist)?;
    Some(cx.rooted(store).join(".state/boots.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = include_str!("../../../tests/fixtures/boot-record/boots-v1.json");

    fn boot(n: u32, why_not: Option<&str>) -> Boot {
        let record = include_bytes!("../../../tests/fixtures/boot-record/v1-refused.json");
        Boot {
            boot_id: format!("{n:08}-0000-4000-8000-000000000000"),
            at: DateTime::from_timestamp(1_790_000_000 + i64::from(n), 0).unwrap(),
            why_not: why_not.map(str::to_owned),
            record: (why_not == Some("refused")).then(|| crate::record::parse(record).unwrap()),
        }
    }

    #[test]
    fn the_last_boots_are_remembered_and_no_boot_twice() {
        let dir = tempfile::tempdir().unwrap();
        let cx = Context {
            now: "2026-11-21T11:37:05Z".parse().unwrap(),
            boot_id: "b".into(),
            dry_run: false,
            ..Context::below(dir.path())
        };
        let stores = "[persist.\"/a\"]\nclass = \"cache\"\n[persist.\"/p\"]\n";
        let settings: Settings = stores.parse().unwrap();
        std::fs::create_dir(dir.path().join("p")).unwrap();
        assert_eq!(Boots::read(&cx, &settings).unwrap(), Boots::default());
        for each in [
            boot(1, Some("it was not")),
            boot(1, None),
            boot(2, Some("refused")),
        ] {
            Boots::remember(&cx, &settings, each).unwrap();
        }
        let at = dir.path().join("p/.state/boots.json");
        assert_eq!(std::fs::read_to_string(&at).unwrap(), V1);
        let read = Boots::read(&cx, &settings).unwrap();
        assert_eq!(read.boots, [boot(1, None), boot(2, Some("refused"))]);
        let glance = Glance {
            remembered: 2,
            not_reset: 1,
            newest: Some(boot(2, None).at),
        };
        assert_eq!(read.glance(), glance);
        let mut many = read;
        (3..=30).for_each(|n| many.add(boot(n, None)));
        let ids: Vec<_> = many.boots.iter().map(|boot| &boot.boot_id[..8]).collect();
        assert_eq!((ids.len(), ids[0], ids[19]), (20, "00000011", "00000030"));

        // What is not understood is not written over.
        std::fs::write(
            &at,
            V1.replace("\"version\": 1,\n  \"boots", "\"version\": 2,\n  \"boots"),
        )
        .unwrap();
        let error = Boots::remember(&cx, &settings, boot(3, None)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("a newer state wrote it (version 2)"),
            "{error}"
        );
        assert!(
            std::fs::read_to_string(&at)
                .unwrap()
                .contains("\"version\": 2")
        );
    }
}
