//! How the system itself comes back: by its own installer, which is told or run. Pure, but for the run.

use super::adapt::Adapted;
use super::checkout::Checkout;
use crate::archive::machine::Machine;
use crate::failure::{self, Failure};
use crate::ops::init::Todo;
use crate::paths::Typed;
use crate::program::Program;
use serde::Serialize;
use state_api::{Error, Interrupt};
use std::path::Path;

/// The system's install command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Install {
    /// The commands, as they are typed. None: this version knows none for the system.
    pub commands: Vec<String>,
    /// The arguments of the one that can be run here.
    #[serde(skip)]
    arguments: Vec<String>,
    /// Whether it was run to its end.
    pub ran: bool,
    /// Why it was not, though it was asked for.
    pub failure: Option<String>,
}

/// The commands for what the archive is of.
pub(super) fn plan(into: &Path, archived: &Machine, checkout: &Checkout) -> Install {
    let mut arguments = Vec::new();
    if archived.nixos.is_some() {
        arguments.extend(["--root".to_owned(), into.display().to_string()]);
        arguments.push("--no-root-passwd".into());
        match (checkout.repo(), &archived.config) {
            (Some(repo), Some(config)) if repo.join("flake.nix").exists() => {
                let (repo, commit, name) = (repo.display(), &config.commit, &archived.machine);
                arguments.push("--flake".into());
                arguments.push(format!("git+file://{repo}?rev={commit}#{name}"));
            }
            (Some(repo), _) => {
                arguments.push("-I".into());
                arguments.push(format!("nixos-config={}/configuration.nix", repo.display()));
            }
            (None, _) => {}
        }
    }
    let typed = arguments
        .iter()
        .map(|argument| match argument.contains(['?', '#']) {
            true => format!("'{argument}'"),
            false => Typed(Path::new(argument)).to_string(),
        });
    let typed: Vec<_> = typed.collect();
    Install {
        commands: match arguments.is_empty() {
            true => Vec::new(),
            false => vec![format!("nixos-install {}", typed.join(" "))],
        },
        arguments,
        ran: false,
        failure: None,
    }
}

/// Refuses, before anything is changed, to run at the end what cannot be run.
///
/// # Errors
/// No install command is known for the archive's system, or it is not here.
pub fn demand_installer(archived: &Machine) -> anyhow::Result<()> {
    if archived.nixos.is_none() {
        return Err(Failure::refused(format!(
            "no install command is known for the system of {}",
            archived.machine
        ))
        .hint("without --run-install, what is left to do is told at the end")
        .into());
    }
    if Program::NixosInstall.find().is_none() {
        return Err(Failure::refused("there is no nixos-install here")
            .hint("NixOS' own medium has it; without --run-install, the command is told at the end")
            .into());
    }
    Ok(())
}

impl Install {
    /// Runs it, if what it installs is there.
    pub(super) fn run(&mut self, checkout: &Checkout, interrupt: &dyn Interrupt) {
        self.failure = match checkout {
            Checkout::Failed { .. } => Some("its configuration is not there".into()),
            Checkout::Differs { .. } => Some("its configuration is at another commit".into()),
            Checkout::Unknown | Checkout::Restored { .. } | Checkout::Cloned { .. } => {
                let doing = "installing the system";
                match Program::NixosInstall.watched(doing, &self.arguments, interrupt) {
                    Ok(()) => None,
                    Err(Error::Interrupted) => Some("it was interrupted".into()),
                    Err(error) => Some(failure::message(&error.into())),
                }
            }
        };
        self.ran = self.failure.is_none();
    }
}

/// What is left to a person. `is_named`: the configuration says how the machine is called.
pub(super) fn todo(
    archived: &Machine,
    adapted: &Adapted,
    install: &Install,
    is_named: bool,
) -> Vec<Todo> {
    let mut todo = Vec::new();
    let mut add = |fact: String, cure: &str| {
        todo.push(Todo {
            fact,
            cure: cure.to_owned(),
        });
    };
    match adapted {
        Adapted::Elsewhere { .. } => add(
            "`[root]` comes from the system's configuration, which names the old disk".into(),
            "change it there to what is shown",
        ),
        Adapted::Untouched => add(
            "`[root]` is as it was restored: if this is another disk, it names the old one".into(),
            "the same command with `--provision DEVICE --backend ENGINE` goes on with what is mounted, fits it, and leaves the lines for /etc/fstab",
        ),
        Adapted::Fitted { .. } | Adapted::Written { .. } => {}
    }
    let is_nixos = archived.nixos.is_some();
    match (is_nixos, install.ran) {
        (true, false) => add(
            "the system is not installed".into(),
            "its fileSystems name the old disk: `nixos-generate-config --show-hardware-config --root DIR` has the new one's; then the command above, or the same `state restore` with --run-install",
        ),
        (true, true) => {}
        (false, _) => add(
            "the system itself is in no archive".into(),
            "install it as it was installed first, with the lines for /etc/fstab that are shown; then `state init --install-boot` in it, and `state blank take` where root has a blank",
        ),
    }
    if !is_named {
        add(
            format!("its archives go by the name {}", archived.machine),
            "its host name has to be that again; or say it in [machine] name",
        );
    }
    todo
}
