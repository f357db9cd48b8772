//! What a migration has to do, and what stands in its way.

use super::fill::Finding;
use super::{Declared, Left, Planner, Report, Step, todo};
use crate::boot::loader;
use crate::failure::{self, Failure};
use crate::ops::init::store;
use crate::ops::initrd::{self, Image};
use crate::ops::{install_boot, look};
use crate::paths::Shown;
use crate::persist::{CONFIGURATION, Entry};
use crate::settings::Root;
use anyhow::Context as _;
use state_api::{Refusal, RootFacts};
use state_linux::mountinfo::Mount;
use std::path::{Path, PathBuf};

impl Planner<'_> {
    pub(super) fn plan(&self, declared: &Declared) -> anyhow::Result<Report> {
        let mut report = Report {
            found: declared.found.clone(),
            configuration: declared.text.clone(),
            steps: Vec::new(),
            left: Vec::new(),
            obstacles: declared.obstacles.clone(),
            todo: Vec::new(),
            moved: Vec::new(),
            done: 0,
            executed: false,
        };
        if declared.text.is_some() {
            let file = declared.file.clone();
            report.steps.push(Step::Configure { file });
        }
        let facts = self.root(&mut report)?;
        self.stores(&mut report);
        if !report.obstacles.is_empty() {
            return Ok(report); // what is found on the way to that is not the point
        }
        self.fills(&mut report, facts.as_ref())?;
        if let Some(facts) = facts {
            self.boot(&mut report, &facts);
        }
        Ok(report)
    }

    /// Looks at root: whether it can be erased, and is not erased already.
    fn root(&self, report: &mut Report) -> anyhow::Result<Option<RootFacts>> {
        let Some(root) = &self.settings.root else {
            if report.obstacles.is_empty() {
                let cure = "declare [root], or fill the store alone: `state keep PATH`";
                report.obstacles.push(todo("no root is declared", cure));
            }
            return Ok(None);
        };
        let is_above = |mount: &Mount| mount.filesystem == "overlay";
        let is_forgetful = match root {
            Root::Tmpfs { .. } => true,
            Root::Overlay { .. } => self.machine.root().is_some_and(is_above),
            Root::Btrfs { .. } | Root::Zfs { .. } => false,
        };
        if is_forgetful {
            let fact = "what is written to this root is gone at every boot already";
            report
                .obstacles
                .push(todo(fact, "there is nothing to migrate: `state keep PATH`"));
            return Ok(None);
        }
        for who in self.machine.root_by_id() {
            let fact =
                format!("{who} mounts root by its subvolume id, which the first reset changes");
            let cure = "write subvol=NAME there in place of subvolid=…";
            report.obstacles.push(todo(fact, cure));
        }
        let facts = look::root(self.cx, self.settings).transpose()?;
        for refusal in facts.iter().flat_map(|facts| &facts.refusals) {
            // A machine that runs from its root, and has no blank yet, is what this is for; one that
            // runs from what an overlay will cover can write to it.
            let is_expected = match refusal {
                Refusal::RootMounted { .. } | Refusal::NoBlank { .. } => true,
                Refusal::Unsafe { .. } => matches!(root, Root::Overlay { .. }),
                _ => false,
            };
            if !is_expected {
                let cure = refusal.hint().unwrap_or_else(|| "`state doctor`".into());
                report.obstacles.push(todo(refusal.to_string(), cure));
            }
        }
        Ok(facts)
    }

    fn stores(&self, report: &mut Report) {
        for store in look::stores(self.cx, self.machine, self.settings) {
            let fact = match (store.exists, store.is_apart) {
                (true, true) => continue,
                (true, false) => "is part of root: it would be erased with it",
                (false, _) => "is not there",
            };
            let cure = store::how_to_make_a_store(self.machine, &store.path);
            let fact = format!("the store {} {fact}", Shown(&store.path));
            if !report.obstacles.iter().any(|known| known.cure == cure) {
                report.obstacles.push(todo(fact, cure));
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let declared = |entry: &&Entry| entry.path != Path::new(CONFIGURATION);
        self.tree.entries().filter(declared)
    }

    fn fills(&self, report: &mut Report, facts: Option<&RootFacts>) -> anyhow::Result<()> {
        for of_user in self.tree.unresolved() {
            let fact = format!("the entries of {}: the user {}", of_user.user, of_user.why);
            report
                .obstacles
                .push(todo(fact, "add the user, or take the entries out"));
        }
        for entry in self.entries() {
            let found = self.between(entry, |between, journal| {
                let found = between.look(entry, &journal, self.watch);
                found.with_context(|| format!("looking at {entry}"))
            })?;
            match found {
                Err((fact, cure)) => report.obstacles.push(todo(fact, cure)),
                Ok(Finding::Nothing(why)) => report.left.push(Left {
                    path: entry.path.clone(),
                    why,
                }),
                // What root holds after a reset is not newer than what the store holds.
                Ok(Finding::Copy { is_anew: true, .. })
                    if facts.is_some_and(|facts| !facts.past_roots.is_empty()) =>
                {
                    let fact =
                        format!("{entry}: the store has another one, and root was reset since");
                    let cure = "what is in the store counts: `state mount` puts it in place";
                    report.obstacles.push(todo(fact, cure));
                }
                Ok(Finding::Copy { bytes, is_anew }) => report.steps.push(Step::Fill {
                    path: entry.path.clone(),
                    source: entry.source(),
                    bytes,
                    is_anew,
                }),
            }
        }
        self.space(report);
        Ok(())
    }

    /// Refuses what cannot fit, unless the filesystem shares content between root and the store.
    fn space(&self, report: &mut Report) {
        for store in look::stores(self.cx, self.machine, self.settings) {
            let of_store = |step: &Step| match step {
                Step::Fill { source, bytes, .. } if source.starts_with(&store.path) => *bytes,
                _ => 0,
            };
            let needed: u64 = report.steps.iter().map(of_store).sum();
            let shares = match (self.machine.root(), &store.mount) {
                (Some(root), Some(mount)) => {
                    root.filesystem == "btrfs" && root.device == mount.device
                }
                _ => false,
            };
            if let Some(space) = &store.space
                && space.free_bytes < needed
                && !shares
            {
                report.obstacles.push(todo(
                    format!(
                        "the entries take {needed} bytes, and the store {} has {} free",
                        Shown(&store.path),
                        space.free_bytes
                    ),
                    "make the store larger, or declare less",
                ));
            }
        }
    }

    /// What comes after the copies: the boot, and blank last.
    fn boot(&self, report: &mut Report, facts: &RootFacts) {
        if self.machine.distribution.is_nixos {
            report.todo.push(todo(
                "NixOS makes its initrd and its units itself",
                "import contrib/nixos/module.nix, and take blank when root is as it shall be at every boot",
            ));
            return;
        }
        let dry = self.cx.planning();
        let (to_be, is_overlay) = (
            self.machine_to_be(),
            matches!(self.settings.root, Some(Root::Overlay { .. })),
        );
        match install_boot::install(&dry, &to_be, self.maker, self.settings, self.tree) {
            Err(error) => {
                let failure = error.downcast_ref::<Failure>();
                let cure = failure.and_then(|failure| failure.cure.clone());
                let cure = cure.unwrap_or_else(|| "`state init --install-boot` says more".into());
                let fact = failure::message(&error);
                report.obstacles.push(todo(fact, cure));
            }
            Ok(boot) => {
                let files = boot.files.iter().filter(|file| file.is_new).count();
                // Without blank nobody knows whether the initrds were made after the files.
                let is_made = match is_overlay {
                    true => self.initrds_are_good(),
                    false => facts.blank.is_some(),
                };
                if files > 0 || !is_made {
                    let maker = boot.maker;
                    report.steps.push(Step::InstallBoot { maker, files });
                }
                report.todo.extend(boot.todo);
            }
        }
        if is_overlay {
            self.overlay(report);
            return;
        }
        // What is in blank is what the machine boots into: it is taken after everything else.
        if facts.blank.is_none() || !report.steps.is_empty() {
            let root = facts.root.clone();
            report.steps.push(Step::TakeBlank { root });
        }
    }

    /// What is left where what is installed is the blank. Its line in fstab goes when all else is in
    /// place: without it, and without the overlay, the system comes up read-only.
    fn overlay(&self, report: &mut Report) {
        if self.releases_root() {
            let file = PathBuf::from("/etc/fstab");
            report.steps.push(Step::ReleaseRoot { file });
        }
        let running = loader::image("this boot", &self.machine.command_line);
        let faults = self
            .settings
            .root
            .iter()
            .flat_map(|root| running.faults(root));
        for (word, what) in faults {
            let fact = format!("the kernel command line says {word}: {what}");
            let cure = "if the boot loader always says so, correct that (GRUB_CMDLINE_LINUX in /etc/default/grub, then `update-grub`)";
            report.todo.push(todo(fact, cure));
        }
    }

    /// Whether the next boot has the initrd that was made for it, as far as there is one to be read.
    fn initrds_are_good(&self) -> bool {
        let is_good = |image: &Image| !image.is_next || image.faults().is_empty();
        initrd::look(self.cx)
            .is_ok_and(|seen| seen.is_none_or(|seen| seen.images.iter().all(is_good)))
    }
}
