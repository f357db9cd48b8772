//! The command's run, on a thread whose mounts nobody else sees.

use super::guest::{self, Guest};
use super::{Options, boot, copies, loader};
use crate::boot::initrd::find;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::ops::mount::{self, Options as Placing, Status};
use crate::paths::Shown;
use crate::persist::Blank as BlankTree;
use crate::program::Enclosed;
use crate::settings::Settings;
use anyhow::Context as _;
use state_api::Error;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What came of the command.
pub(super) struct Worked {
    pub(super) status: u8,
    pub(super) accepted: bool,
    pub(super) saved: Vec<PathBuf>,
}

/// What the thread is told.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) settings: &'a Settings,
    pub(super) machine: &'a Machine,
}

impl Job<'_> {
    pub(super) fn run(
        self,
        draft: OwnedFd,
        shared: &[PathBuf],
        options: &mut Options<'_>,
    ) -> anyhow::Result<Worked> {
        let (cx, settings) = (self.cx, self.settings);
        let mut guest = Guest::new(cx, draft, shared)?;
        let inside = Context {
            root_dir: guest.at.clone(),
            config_file: cx.config_file.clone(),
            boot_id: cx.boot_id.clone(),
            ..*cx
        };
        let blank = BlankTree::new(|| mount::blank(cx, settings));
        let tree = mount::tree(&inside, settings)?;
        let none = (Placing::default(), Default::default());
        let placed = mount::place_all(&inside, settings, &tree, &blank, none)
            .context("putting the persist tree in place in the draft")?;
        refuse_unplaced(&placed)?;
        let boot_is_apart = find::is_apart(self.machine, Path::new("/boot"));
        guest.lend(boot_is_apart)?;
        let enclosed = Enclosed {
            root: &guest.at,
            env: &guest::ENVIRONMENT,
            is_aside: options.is_aside,
        };
        let status = enclosed.run(&options.command, cx.interrupt)?;
        // Also of a command that failed: a /boot of its own is not given up with the draft.
        loader::name_root(guest.root(), &guest.at, settings.root.as_ref())?;
        let mut worked = Worked {
            status,
            accepted: false,
            saved: Vec::new(),
        };
        if !(options.accept)(status)? {
            return Ok(worked);
        }
        if boot::is_apart(self.machine)
            && let Some(stranger) = boot::stranger(self.machine, guest.root(), guest.root(), None)?
        {
            let fact = format!(
                "/boot starts {} now, and the draft has no modules for it",
                stranger.kernel
            );
            let cure = "install its modules with it, or take it out of /boot";
            return Err(Failure::refused(fact).hint(cure).into());
        }
        guest.take_back()?;
        let draft = copies::Machine {
            cx: &inside,
            settings,
            tree: &tree,
            blank: &blank,
        };
        let outside = mount::tree(cx, settings)?;
        let machine = copies::Machine {
            cx,
            tree: &outside,
            ..draft
        };
        let machine = (cx.root_dir == Path::new("/")).then_some(machine);
        worked.saved = copies::hand_over(draft, machine)?;
        worked.accepted = true;
        Ok(worked)
    }
}

/// Refuses to run a command beside data that it belongs to. People whom nobody knows yet may be
/// what the command makes.
fn refuse_unplaced(placed: &mount::Report) -> anyhow::Result<()> {
    for entry in placed
        .entries
        .iter()
        .filter(|entry| entry.path.is_absolute())
    {
        if let Status::Failed { error, hint } = &entry.status {
            let fact = format!(
                "{} cannot be put in place in the draft: {error}",
                Shown(&entry.path)
            );
            return Err(Failure {
                cure: hint.clone(),
                ..Failure::refused(fact)
            }
            .into());
        }
    }
    match &placed.trouble {
        Some(trouble) => Err(Error::Malformed {
            what: "the persist tree in the draft".into(),
            why: trouble.clone(),
        }
        .into()),
        None => Ok(()),
    }
}
