//! The scenes, and the verbs that are run in them.

use super::content;
use super::machine::{Machine, New};
use super::stage::Stage;
use super::{Backend, Event, Narrator, Report, Scene, Shown};
use crate::copy::Fidelity;
use crate::inventory::Inventory;
use crate::ops::{archives, backup, blank, diff, mount, recover, reset, restore, roots, snapshot};
use crate::progress::Silent;
use crate::record::Record;
use anyhow::Context as _;
use state_api::{Error, Interrupt};
use std::path::Path;
use std::time::Instant;

/// A play under way.
pub(super) struct Play<'a> {
    pub(super) interrupt: &'a dyn Interrupt,
    pub(super) narrator: &'a mut dyn Narrator,
    pub(super) scenes: Vec<Scene>,
    pub(super) begun: Instant,
}

impl Play<'_> {
    pub(super) fn say(&mut self, event: Event<'_>) -> anyhow::Result<()> {
        if self.interrupt.is_set() {
            return Err(Error::Interrupted.into());
        }
        Ok(self.narrator.tell(event)?)
    }

    fn tells(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.say(Event::Tells(text.as_ref()))
    }

    fn scene(&mut self, title: &str) -> anyhow::Result<()> {
        self.say(Event::Scene(title))?;
        self.begun = Instant::now();
        self.scenes.push(Scene {
            title: title.to_owned(),
            commands: Vec::new(),
            took_us: 0,
        });
        Ok(())
    }

    fn runs(&mut self, command: &str) -> anyhow::Result<()> {
        if let Some(scene) = self.scenes.last_mut() {
            scene.commands.push(command.to_owned());
        }
        self.say(Event::Runs(command))
    }

    fn shows(&mut self, shown: Shown<'_>) -> anyhow::Result<()> {
        self.say(Event::Shows(shown))
    }

    fn ends(&mut self) -> anyhow::Result<()> {
        let took = self.begun.elapsed();
        if let Some(scene) = self.scenes.last_mut() {
            scene.took_us = Record::micros(took);
        }
        self.say(Event::Took(took))
    }

    pub(super) fn acts(
        mut self,
        stage: &Stage,
        backend: Backend,
        pool: &str,
    ) -> anyhow::Result<Report> {
        let mut machine = Machine::new(stage, backend, pool)?;
        self.is_set_up(&mut machine)?;
        self.boots(&mut machine)?;
        self.is_lived_in(&machine)?;
        self.is_reset(&mut machine)?;
        let noted = self.is_backed_up(&machine)?;
        let usb = machine.usb();
        self.dies(machine)?;
        let new = self.is_restored(stage, &usb)?;
        let differences = self.is_proven(&noted, &new)?;
        Ok(self.report(stage, backend, &noted, differences))
    }

    fn report(
        self,
        stage: &Stage,
        backend: Backend,
        noted: &Inventory,
        differences: Vec<String>,
    ) -> Report {
        Report {
            backend,
            had_devices: stage.has_devices,
            scenes: self.scenes,
            paths: noted.len(),
            bytes: noted.bytes(),
            differences,
            kept: stage.kept.clone(),
        }
    }

    fn is_set_up(&mut self, machine: &mut Machine<'_>) -> anyhow::Result<()> {
        self.scene("A machine is set up")?;
        machine.lay_out()?;
        self.tells(machine.describe())?;
        let fidelity = if machine.stage.has_devices {
            Fidelity::Exact
        } else {
            Fidelity::AsFarAsAllowed
        };
        let copied = machine.filled(fidelity, self.interrupt)?;
        self.tells(format!(
            "{} files and directories of this system ({}) go into its persist tree, owners, \
             times, links and all; with them a few things that copies like to lose.",
            thousands(copied.entries),
            size(copied.bytes),
        ))?;
        if machine.has_blank() {
            self.runs("state blank take")?;
            let take = blank::take(&machine.at_boot(self.interrupt))?;
            self.shows(Shown::Take(&take))?;
        }
        self.ends()
    }

    fn boots(&mut self, machine: &mut Machine<'_>) -> anyhow::Result<()> {
        self.scene("It boots")?;
        machine.boots()?;
        let report = self.mounts(machine)?;
        self.shows(Shown::Mount(&report))?;
        self.ends()
    }

    fn mounts(&mut self, machine: &Machine<'_>) -> anyhow::Result<mount::Report> {
        self.runs("state mount")?;
        let report = mount::run(&machine.running(self.interrupt), mount::Options::default())?;
        anyhow::ensure!(report.failed() == 0, "an entry could not be put in place");
        Ok(report)
    }

    fn is_lived_in(&mut self, machine: &Machine<'_>) -> anyhow::Result<()> {
        self.scene("Somebody lives on it")?;
        let (files, bytes) = content::clutter(&machine.root())?;
        self.tells(format!(
            "{files} files ({}) end up where nobody declared them: a download, a quick fix, and \
             the only copy of a good idea.",
            size(bytes)
        ))?;
        self.runs("state diff")?;
        let report = diff::run(
            &machine.running(self.interrupt),
            &diff::Options::default(),
            &Silent,
        )?;
        self.shows(Shown::Diff(&report))?;
        self.ends()
    }

    fn is_reset(&mut self, machine: &mut Machine<'_>) -> anyhow::Result<()> {
        let is_memory = !machine.has_blank();
        self.scene(match is_memory {
            true => "It reboots, and memory forgets",
            false => "It reboots, and root goes back to blank",
        })?;
        machine.shuts_down()?;
        if is_memory {
            // There is nothing to erase; what is checked is there once root is mounted.
            machine.boots()?;
        }
        self.runs("state reset")?;
        let report = reset::run(
            &match is_memory {
                true => machine.running(self.interrupt),
                false => machine.at_boot(self.interrupt),
            },
            &Silent,
        )?;
        self.shows(Shown::Reset(&report))?;
        if !is_memory {
            machine.boots()?;
        }
        let report = self.mounts(machine)?;
        let gone = !machine.root().join(content::IDEA).exists();
        anyhow::ensure!(gone, "the clutter is still there");
        self.tells(format!(
            "All {} entries are back in place, and the clutter is gone: the download, the quick \
             fix, and the good idea.",
            report.entries.len()
        ))?;
        self.ends()?;
        if is_memory {
            return Ok(());
        }
        self.scene("But nothing is lost")?;
        self.runs("state roots")?;
        let list = roots::list(&machine.running(self.interrupt))?;
        self.shows(Shown::Roots(&list))?;
        self.runs(&format!("state roots recover /{}", content::IDEA))?;
        let options = recover::Options {
            path: Path::new("/").join(content::IDEA),
            from: None,
            to: None,
        };
        let report = recover::run(&machine.running(self.interrupt), &options, &Silent)?;
        self.shows(Shown::Recovered(&report))?;
        let idea = std::fs::read_to_string(machine.root().join(content::IDEA));
        let idea = idea.context("reading the good idea")?;
        anyhow::ensure!(
            idea == content::IDEA_TEXT,
            "the good idea is another one now"
        );
        self.tells(format!("The good idea: “{}”", idea.trim()))?;
        self.ends()
    }

    fn is_backed_up(&mut self, machine: &Machine<'_>) -> anyhow::Result<Inventory> {
        self.scene("It is backed up")?;
        let cx = machine.running(self.interrupt);
        let noted = content::noted(&machine.store(), self.interrupt)?;
        if machine.has_snapshots() {
            self.runs("state snapshot create before-the-flood")?;
            let name = "before-the-flood".parse()?;
            let created = snapshot::create(&cx, None, Some(name))?;
            self.shows(Shown::Snapshot(&created))?;
        } else {
            self.tells(
                "This store's filesystem has no snapshots; the archive is made of the tree itself.",
            )?;
        }
        self.runs("state backup --to usb")?;
        let to = backup::Options {
            to: Some("usb".into()),
            full: false,
        };
        let report = backup::run(&cx, &to, &Silent)?;
        self.shows(Shown::Backup(&report))?;
        self.ends()?;
        Ok(noted)
    }

    fn dies(&mut self, mut machine: Machine<'_>) -> anyhow::Result<()> {
        self.scene("The disk dies")?;
        machine.shuts_down()?;
        let lost = match machine.has_snapshots() {
            true => "Root, blank, past roots, the store and its snapshots are gone.",
            false => "The store is gone.",
        };
        machine.destroy()?;
        self.tells(format!(
            "{lost} What is left is the archive, on another disk."
        ))?;
        self.ends()
    }

    fn is_restored(&mut self, stage: &Stage, usb: &Path) -> anyhow::Result<New> {
        self.scene("New hardware, another filesystem")?;
        let new = New::set_up(stage)?;
        self.tells(new.describe())?;
        self.runs(
            "state restore --from file:///mnt/usb --machine demo --into /mnt/new --allow-unsigned",
        )?;
        let options = restore::Options {
            which: archives::Which {
                from: Some(format!("file://{}", usb.display())),
                machine: Some("demo".into()),
                ..Default::default()
            },
            into: Some(new.store()),
            allow_unsigned: true,
            forget_replaced: false,
            ..restore::Options::default()
        };
        let report = restore::run(&new.rescue(self.interrupt)?, &options, &Silent)?;
        self.shows(Shown::Restored(&report))?;
        self.ends()?;
        Ok(new)
    }

    fn is_proven(&mut self, noted: &Inventory, new: &New) -> anyhow::Result<Vec<String>> {
        self.scene("The proof")?;
        let found = content::noted(&new.store(), self.interrupt)?;
        let differences = noted.differences(&found);
        let rare = noted.delicate();
        self.tells(
            "Before the disk died, every path of the store was noted down: what it is, its content \
             (SHA-256), owner, mode, time to the nanosecond, attributes, ACLs, flags, links.",
        )?;
        self.tells(format!(
            "{} paths and {} were lost: {} symlinks among them, {} further names of files, {} with \
             attributes, {} with an ACL. {} paths and {} are back.",
            thousands(noted.len()),
            size(noted.bytes()),
            rare.symlinks,
            rare.hard_links,
            rare.attributes,
            rare.acls,
            thousands(found.len()),
            size(found.bytes()),
        ))?;
        match differences.len() {
            0 => self.say(Event::Proves("The two trees are equal in all of it."))?,
            n => self.tells(format!("{n} of them differ."))?,
        }
        self.ends()?;
        Ok(differences)
    }
}

/// `1.5 MiB`, for the words of the play.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(MIB)),
    }
}

/// `2,181`
fn thousands(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let table = [
            (0u64, "0"),
            (999, "999"),
            (2181, "2,181"),
            (1_000_000, "1,000,000"),
        ];
        for (n, text) in table {
            assert_eq!(thousands(n), text);
        }
        assert_eq!(
            [size(0), size(1), size(1 << 20)],
            ["0 KiB", "1 KiB", "1 MiB"]
        );
    }
}
