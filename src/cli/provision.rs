//! `state provision`

use super::exit::one_line;
use super::output::{FAINT, GOOD, HEADER, WARN};
use super::size::size;
use super::{Exit, Globals, Screen};
use crate::ask::Ask as _;
use crate::failure::Failure;
use crate::ops::init::Todo;
use crate::ops::provision::{self, Backend, Filesystem, Options, Passphrase, Report, Wanted};
use crate::paths::Shown;
use anyhow::Context as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Lay out an empty disk for a new machine, and mount it
///
/// Makes what a machine with such a root needs (the filesystem or pool, the volumes for root and
/// store, blank where it is the empty root), writes a first configuration, and mounts everything
/// below a directory. A device that holds anything is refused until `--erase` says what would be
/// lost; one that is in use always is. An interrupted run is finished by the next.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A partition, an opened LUKS device, a disk or a file; for ZFS also a pool, or a dataset to
    /// make everything in.
    #[arg(value_name = "DEVICE|POOL")]
    on: PathBuf,
    /// Where the store is on the machine.
    #[arg(long, value_name = "PATH", default_value = "/persist")]
    store: PathBuf,
    /// The directory that the new machine is mounted at.
    #[arg(long, value_name = "DIR", default_value = "/mnt")]
    into: PathBuf,
    /// The machine's name; without it, its host name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// It will be NixOS: with a volume for /nix, and the empty root as blank.
    #[arg(long)]
    nixos: bool,
    #[command(flatten)]
    disk: Disk,
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What the disk is to look like, also for `state restore --provision`.
#[derive(Debug, clap::Args)]
pub struct Disk {
    /// The engine of root: btrfs, zfs, tmpfs or overlay.
    #[arg(long, value_name = "ENGINE", hide_possible_values = true)]
    backend: Option<Engine>,
    /// The filesystem of the store below a tmpfs or an overlay: ext4, xfs or btrfs; by default
    /// ext4.
    #[arg(long, value_name = "FILESYSTEM", hide_possible_values = true)]
    store_on: Option<Kind>,
    /// A further volume that no reset touches, as in `--volume /home`; may be given several times.
    #[arg(long, value_name = "PATH")]
    volume: Vec<PathBuf>,
    /// The name of the pool that is made on the device; by default rpool.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Encrypt the device with LUKS; NAME is what it is called below /dev/mapper.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "crypted")]
    encrypt: Option<String>,
    /// A file whose first line is the passphrase; without it, it is asked for.
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    passphrase_file: Option<PathBuf>,
    /// What may be lost for ever, in the words of the refusal.
    #[arg(long, value_name = "WHAT")]
    erase: Option<String>,
}

/// The words for [`Backend`]; here, because below the command line nobody knows that there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// A subvolume.
    Btrfs,
    /// A dataset.
    Zfs,
    /// Memory.
    Tmpfs,
    /// Layers above an installed system.
    Overlay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Btrfs,
    Ext4,
    Xfs,
}

impl Disk {
    /// The options of a provision. `stores` are those of the machine.
    pub(super) fn options(
        &self,
        on: &Path,
        stores: Vec<PathBuf>,
        into: &Path,
        is_nixos: bool,
    ) -> anyhow::Result<Options> {
        let backend = self.engine()?;
        let mut volumes = self.volume.clone();
        let nix = PathBuf::from("/nix");
        if is_nixos && !volumes.contains(&nix) {
            volumes.insert(0, nix);
        }
        let is_pool = !on.is_absolute() && backend == Engine::Zfs && !on.starts_with(".");
        let on = match is_pool {
            true => on.to_owned(),
            false => std::path::absolute(on).unwrap_or_else(|_| on.to_owned()),
        };
        Ok(Options {
            wanted: Wanted {
                backend: match backend {
                    Engine::Btrfs => Backend::Btrfs,
                    Engine::Zfs => Backend::Zfs,
                    Engine::Tmpfs => Backend::Tmpfs,
                    Engine::Overlay => Backend::Overlay,
                },
                store_on: self.store_on.map(|kind| match kind {
                    Kind::Btrfs => Filesystem::Btrfs,
                    Kind::Ext4 => Filesystem::Ext4,
                    Kind::Xfs => Filesystem::Xfs,
                }),
                stores,
                volumes,
                takes_blank: is_nixos,
                pool: match is_pool {
                    true => on.to_string_lossy().into_owned(),
                    false => self.pool.clone().unwrap_or_else(|| "rpool".into()),
                },
            },
            on,
            into: into.to_owned(),
            name: None,
            is_nixos,
            encrypt: self.encrypt.clone(),
            passphrase: None,
            erase: self.erase.clone(),
            uuid: None,
        })
    }

    /// What root is to live on.
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        self.backend.ok_or_else(|| {
            Failure::usage("nothing says what root is to live on")
                .hint("--backend btrfs, zfs, tmpfs or overlay")
                .into()
        })
    }

    /// Whether anything of it was said.
    pub(super) fn is_given(&self) -> bool {
        self.backend.is_some()
            || self.store_on.is_some()
            || !self.volume.is_empty()
            || self.pool.is_some()
            || self.encrypt.is_some()
            || self.erase.is_some()
    }

    /// The passphrase, if one is needed: out of the file, or asked for twice.
    pub(super) fn passphrase(&self, globals: &Globals) -> anyhow::Result<Option<Passphrase>> {
        if self.encrypt.is_none() {
            return Ok(None);
        }
        if let Some(file) = &self.passphrase_file {
            let text = fs::read(file).with_context(|| format!("reading {}", Shown(file)))?;
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Passphrase::new(line).map(Some);
        }
        let person = globals.person();
        let nobody = || {
            Failure::usage("nobody can be asked for the passphrase")
                .hint("put it into a file that only you can read: --passphrase-file FILE")
        };
        let first = person
            .secret("Passphrase for the new disk:")
            .ok_or_else(nobody)?;
        let second = person.secret("The same again:").ok_or_else(nobody)?;
        match first == second {
            true => Passphrase::new(first.as_bytes()).map(Some),
            false => Err(Failure::refused("the passphrases are not the same").into()),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// Those of [`provision`], or it was not confirmed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let stores = vec![args.store.clone()];
    let mut options = args
        .disk
        .options(&args.on, stores, &args.into, args.nixos)?;
    options.name = args.name;
    let plan = provision::run(&globals.context(true)?, &options)?;
    if args.dry_run || plan.plan.is_empty() {
        globals.show(&plan, human)?;
        return Ok(Exit::Done);
    }
    if !globals.json {
        globals.show(&plan, human)?;
    }
    if !globals.confirm(&format!("Lay out {} like this?", Shown(&plan.on)))? {
        return Err(Failure::refused("not confirmed: everything stays as it is").into());
    }
    options.passphrase = args.disk.passphrase(globals)?;
    options.uuid = plan.uuid; // what was shown is what is written
    let done = provision::run(&globals.context(false)?, &options)?;
    globals.show(&done, human)?;
    Ok(Exit::Done)
}

/// What is done to the disk, or was.
///
/// # Errors
/// The screen's.
pub(super) fn steps(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (on, into) = (Shown(&report.on), Shown(&report.into));
    let bytes = report
        .bytes
        .map_or(String::new(), |bytes| format!(" ({})", size(bytes)));
    if report.plan.is_empty() {
        return writeln!(
            out,
            "{GOOD}Nothing is to be done{GOOD:#}: {on}{bytes} is laid out and mounted at {into}"
        );
    }
    match report.executed {
        true => writeln!(out, "{GOOD}Laid out{GOOD:#} {on}{bytes}, mounted at {into}")?,
        false => writeln!(out, "{HEADER}To lay out {on}{bytes}{HEADER:#}")?,
    }
    super::steps::print(&report.plan, out)
}

/// What is left to a person.
///
/// # Errors
/// The screen's.
pub(super) fn todo(todo: &[Todo], out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out, "\n{HEADER}Left to do{HEADER:#}")?;
    for todo in todo {
        writeln!(out, "  {WARN}*{WARN:#} {}", one_line(&todo.fact))?;
        writeln!(out, "    {}", one_line(&todo.cure))?;
    }
    Ok(())
}

/// The lines that a system needs in its files.
///
/// # Errors
/// The screen's.
pub(super) fn lines(
    fstab: &[String],
    crypttab: Option<&str>,
    out: &mut Screen<'_>,
) -> io::Result<()> {
    writeln!(out, "\n{HEADER}Lines for /etc/fstab{HEADER:#}")?;
    for line in fstab {
        writeln!(out, "  {line}")?;
    }
    match crypttab {
        Some(line) => writeln!(out, "\n{HEADER}Line for /etc/crypttab{HEADER:#}\n  {line}"),
        None => Ok(()),
    }
}

/// The plan, or what came of it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    steps(report, out)?;
    if report.plan.is_empty() {
        return Ok(());
    }
    if report.executed {
        return todo(&report.todo, out);
    }
    writeln!(
        out,
        "\n{HEADER}Its first configuration{HEADER:#} {FAINT}({}){FAINT:#}",
        Shown(&report.file)
    )?;
    for line in report.configuration.lines() {
        writeln!(out, "{}", format!("  {line}").trim_end())?;
    }
    lines(&report.fstab, report.crypttab.as_deref(), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::act::Act;
    use state_api::Outcome;

    fn report() -> Report {
        let act = |text: &str| Act {
            text: text.into(),
            step: serde_json::Value::Null,
            outcome: None,
            took_us: None,
        };
        Report {
            on: "/dev/vda2".into(),
            bytes: Some(20 << 30),
            into: "/mnt".into(),
            plan: vec![
                act("make a filesystem, btrfs, on /dev/vda2"),
                act("make the subvolume root"),
            ],
            executed: false,
            uuid: Some("1b2c".into()),
            configuration: "[machine]\nname = \"lab\"\n".into(),
            file: "/mnt/persist/etc/state/state.toml".into(),
            fstab: vec!["UUID=1b2c / btrfs subvol=root,noatime 0 0".into()],
            crypttab: Some("crypted UUID=5d6e none luks,discard".into()),
            todo: vec![Todo {
                fact: "a fact".into(),
                cure: "a cure".into(),
            }],
            root: None,
        }
    }

    #[test]
    fn a_plan_is_shown_whole_and_then_what_came_of_it() {
        assert_eq!(
            Screen::text(None, |out| human(&report(), out)),
            "\
To lay out /dev/vda2 (20 GiB)
  1. make a filesystem, btrfs, on /dev/vda2
  2. make the subvolume root

Its first configuration (/mnt/persist/etc/state/state.toml)
  [machine]
  name = \"lab\"

Lines for /etc/fstab
  UUID=1b2c / btrfs subvol=root,noatime 0 0

Line for /etc/crypttab
  crypted UUID=5d6e none luks,discard
"
        );
        let mut done = report();
        done.executed = true;
        for act in &mut done.plan {
            (act.outcome, act.took_us) = (Some(Outcome::Made), Some(2000));
        }
        assert_eq!(
            Screen::text(None, |out| human(&done, out)),
            "\
Laid out /dev/vda2 (20 GiB), mounted at /mnt
  1. make a filesystem, btrfs, on /dev/vda2 (2 ms)
  2. make the subvolume root (2 ms)

Left to do
  * a fact
    a cure
"
        );
        done.plan.clear();
        assert_eq!(
            Screen::text(None, |out| human(&done, out)),
            "Nothing is to be done: /dev/vda2 (20 GiB) is laid out and mounted at /mnt\n"
        );
    }
}
