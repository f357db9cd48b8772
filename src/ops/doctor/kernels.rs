//! The kernel that starts next has its modules in blank.

use super::{Facts, Finding, Severity};
use crate::anchor::Anchor;
use crate::boot::initrd::find;
use crate::context::Context;
use crate::kernels;
use crate::machine::Machine;
use crate::ops::{mount, renew};
use crate::settings::Settings;
use std::io;
use std::path::PathBuf;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The versions of the kernels that the boot loader has, oldest first.
    pub(super) starts: Vec<String>,
    /// The versions that blank has modules for.
    pub(super) modules: Vec<String>,
}

/// `None` where there is nothing to compare: no root, no blank, no kernel, or not everybody may look.
pub(super) fn look(cx: &Context, machine: &Machine, settings: &Settings) -> Option<Seen> {
    let dirs: Vec<PathBuf> = find::dirs(machine, settings.root.as_ref());
    let blank = mount::blank(cx, settings)?;
    let look = || -> io::Result<Seen> {
        let root = Anchor::open(&cx.root_dir)?;
        Ok(Seen {
            starts: kernels::in_boot(dirs.iter().map(|dir| (&root, dir.as_path())))?,
            modules: kernels::modules(&Anchor::from(blank.dir.try_clone()?))?,
        })
    };
    look().ok().filter(|seen| !seen.starts.is_empty())
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let root = facts.config.as_ref().ok()?.settings.root.as_ref()?;
    let seen = facts.kernels.as_ref()?;
    let finding = |kernel: String| {
        let fact = format!(
            "the newest kernel, {kernel}, has no modules in blank: after the next reset there is no network, nor \
             much else that needs a module"
        );
        Finding::new("kernels", Severity::Bad, fact).cure(renew::catch_up(root))
    };
    let stranger = kernels::stranger(&seen.starts, &seen.modules);
    Some(stranger.map(finding).into_iter().collect())
}
