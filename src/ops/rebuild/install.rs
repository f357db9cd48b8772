//! How the system itself comes back: by its own installer, which is told or run. Pure, but for the run.

use super::adapt::Adapted;
use super::checkout::Checkout;
use crate::archive::machine::Machine;
use crate::failure;
use crate::ops::init::Todo;
use crate::paths::Typed;
use crate::program::Program;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// How long an installer may take: it may build a system.
const LIMIT: Duration = Duration::from_secs(12 * 3600);

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

impl Install {
    /// Runs it.
    pub(super) fn run(&mut self) {
        if self.arguments.is_empty() {
            self.failure = Some("no install command is known for this system".into());
            return;
        }
        match Program::NixosInstall.run("installing the system", &self.arguments, LIMIT) {
            Ok(_) => self.ran = true,
            Err(error) => self.failure = Some(failure::message(&error.into())),
        }
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
            "its fileSystems name the old disk: `nixos-generate-config --show-hardware-config --root DIR` has the new one's; then the command above",
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
