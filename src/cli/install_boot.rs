//! `state init --install-boot`: shows what was installed.

use super::output::{GOOD, HEADER, Screen, WARN};
use super::{Exit, Globals, exit};
use crate::boot::maker::Maker;
use crate::ops::install_boot::{self, Report};
use crate::paths::Shown;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Here, because below the command line nobody knows that there is one.
impl clap::ValueEnum for Maker {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

/// The part of `init` that follows once the configuration is right.
#[derive(Debug, clap::Args)]
#[group(skip)] // init has a group of this name
pub struct Args {
    /// Install what starts `state` at boot: units, and a hook of the maker of initrds (found, or
    /// named: dracut, initramfs-tools, mkinitcpio); then make the initrds anew.
    #[arg(
        long,
        value_name = "MAKER",
        num_args = 0..=1,
        require_equals = true,
        hide_possible_values = true,
        conflicts_with_all = ["store", "output", "from"]
    )]
    install_boot: Option<Option<Maker>>,
    /// For hooks: write what an initrd holds beside the program below this directory.
    #[arg(
        long,
        value_name = "DIR",
        hide = true,
        conflicts_with_all = ["store", "output", "install_boot", "migrate"]
    )]
    initrd_files: Option<PathBuf>,
}

impl Args {
    /// The maker that was named.
    pub fn maker(&self) -> Option<Maker> {
        self.install_boot.flatten()
    }
}

/// Does what was asked for, if it was.
///
/// # Errors
/// Those of [`install_boot`].
pub fn run(globals: &Globals, args: Args, dry_run: bool) -> anyhow::Result<Option<Exit>> {
    let report = match args {
        Args {
            install_boot: Some(maker),
            ..
        } => install_boot::run(&globals.context(dry_run)?, maker)?,
        Args {
            initrd_files: Some(dir),
            ..
        } => install_boot::initrd_files(&globals.context(dry_run)?, &dir)?,
        _ => return Ok(None),
    };
    globals.show(&report, human)?;
    Ok(Some(Exit::Done))
}

fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let for_whom = match report.maker {
        Some(maker) => format!(" for {maker} and systemd"),
        None => String::new(),
    };
    let new = report.files.iter().filter(|file| file.is_new).count();
    match report.executed {
        true => writeln!(out, "{GOOD}Installed{GOOD:#}{for_whom}:")?,
        false => writeln!(out, "Would be installed{for_whom}:")?,
    }
    for file in &report.files {
        let so = if file.is_new { "" } else { " (so already)" };
        writeln!(out, "  {}{so}", Shown(&file.path))?;
    }
    if new == 0 {
        writeln!(out, "Nothing there has changed.")?;
    }
    if let Some(command) = &report.rebuild {
        match report.executed {
            true => writeln!(out, "Made the initrds anew: `{command}`.")?,
            false => writeln!(out, "Then `{command}` would make the initrds anew.")?,
        }
    }
    for path in &report.checked {
        writeln!(out, "Read {} back: a boot with it is reset.", Shown(path))?;
    }
    if !report.todo.is_empty() {
        writeln!(out, "\n{HEADER}Before the first reset{HEADER:#}")?;
    }
    for todo in &report.todo {
        writeln!(out, "  {WARN}*{WARN:#} {}", exit::one_line(&todo.fact))?;
        writeln!(out, "    {}", exit::one_line(&todo.cure))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::init::Todo;
    use crate::ops::install_boot::Installed;

    #[test]
    fn what_was_installed_is_told() {
        let file = |path: &str, is_new| Installed {
            path: path.into(),
            is_new,
        };
        let mut report = Report {
            maker: Some(Maker::Dracut),
            files: vec![file("/etc/a", true), file("/etc/b", false)],
            rebuild: Some("dracut --force".into()),
            checked: vec!["/boot/initrd.img-6.1".into()],
            todo: vec![Todo {
                fact: "there is no blank yet".into(),
                cure: "take one".into(),
            }],
            executed: true,
        };
        assert_eq!(
            Screen::text(None, |out| human(&report, out)),
            "\
Installed for dracut and systemd:
  /etc/a
  /etc/b (so already)
Made the initrds anew: `dracut --force`.
Read /boot/initrd.img-6.1 back: a boot with it is reset.

Before the first reset
  * there is no blank yet
    take one
"
        );
        report.executed = false;
        report.files.remove(0);
        report.todo.clear();
        report.checked.clear();
        assert_eq!(
            Screen::text(None, |out| human(&report, out)),
            "\
Would be installed for dracut and systemd:
  /etc/b (so already)
Nothing there has changed.
Then `dracut --force` would make the initrds anew.
"
        );
    }
}
