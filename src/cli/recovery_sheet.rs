//! `state recovery-sheet`

use super::exit::one_line;
use super::output::HEADER;
use super::size::moment;
use super::{Exit, Globals, Screen};
use crate::ops::recovery_sheet::{Report, run as sheet};
use std::io::{self, Write as _};

/// Print one page for the drawer: what to know when this machine is gone
///
/// The machine's name, where its archives are, whose signature they carry, who can read them, and
/// the commands that bring it back, with and without `state`. No secret is on it: no private key, no
/// password, nothing of the environment. Print it again when targets or keys change.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// There is no configuration, or the machine has no name.
pub fn run(globals: &Globals, _args: Args) -> anyhow::Result<Exit> {
    let report = sheet(&globals.context(true)?)?;
    globals.show(&report, human)?;
    Ok(Exit::Done)
}

fn heading(text: &str, out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out, "\n{HEADER}{text}{HEADER:#}")
}

/// The page.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let machine = &report.machine;
    writeln!(
        out,
        "{HEADER}Recovery sheet of {machine}{HEADER:#}, printed {}",
        moment(report.time)
    )?;
    writeln!(
        out,
        "There is no secret on this page. Keep it where the machine is not."
    )?;

    heading("The machine", out)?;
    let stores: Vec<_> = report
        .stores
        .iter()
        .map(|store| store.display().to_string())
        .collect();
    let root = report.root.unwrap_or("a disk that is not erased");
    match &stores[..] {
        [] => writeln!(
            out,
            "  root on {root}, nothing is kept: no store is configured"
        )?,
        _ => writeln!(
            out,
            "  root on {root}, kept in {}",
            one_line(&stores.join(", "))
        )?,
    }
    match &report.config {
        None => writeln!(out, "  configuration: in no repository that is known")?,
        Some(config) => {
            let url = config.url.as_deref().unwrap_or("no remote");
            writeln!(
                out,
                "  configuration: {} ({})",
                one_line(url),
                one_line(&config.repo.display().to_string())
            )?;
        }
    }

    heading("Its archives", out)?;
    if report.targets.is_empty() {
        writeln!(out, "  none are made: no target is configured")?;
    }
    for target in &report.targets {
        writeln!(
            out,
            "  {}: {}",
            one_line(&target.name),
            one_line(&target.url)
        )?;
        for with in &target.with {
            writeln!(
                out,
                "    {} (on the machine: have a copy elsewhere)",
                one_line(with)
            )?;
        }
        if let Some(newest) = &target.newest {
            writeln!(out, "    newest when this was printed: {}", newest.id)?;
        }
    }

    heading("Keys", out)?;
    match &report.signer {
        Some(signer) => {
            writeln!(out, "  signed by {}", signer.fingerprint)?;
            writeln!(out, "  {}", one_line(&signer.allowed))?;
        }
        None => writeln!(out, "  archives are not signed")?,
    }
    match &report.encrypted_to[..] {
        [] => writeln!(out, "  archives are not encrypted")?,
        recipients => {
            for recipient in recipients {
                writeln!(out, "  readable by {}", one_line(recipient))?;
            }
            writeln!(
                out,
                "  the private keys lie (fill in by hand): ______________________________"
            )?;
        }
    }
    commands(report, out)
}

/// The commands, with the names filled in.
fn commands(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let machine = &report.machine;
    let Some(target) = report.targets.first() else {
        return Ok(());
    };
    let is_encrypted = !report.encrypted_to.is_empty();
    heading("With `state`, from any live medium", out)?;
    writeln!(
        out,
        "  state restore --from '{}' --machine {machine} \\",
        one_line(&target.url)
    )?;
    if let Some(signer) = &report.signer {
        writeln!(out, "    --trust-key {} \\", signer.fingerprint)?;
    } else {
        writeln!(out, "    --allow-unsigned \\")?;
    }
    if is_encrypted {
        writeln!(out, "    --identity KEYFILE \\")?;
    }
    let backend = report.root.unwrap_or("tmpfs");
    writeln!(
        out,
        "    --provision DEVICE --backend {backend} --dry-run    # then without --dry-run"
    )?;

    heading("Without it: OpenSSH, zstd, GNU tar and coreutils", out)?;
    let newest = target
        .newest
        .as_ref()
        .map_or("…", |newest| newest.id.as_str());
    writeln!(out, "  ID={newest}    # or a newer one")?;
    writeln!(out, "  {}", one_line(&target.fetch))?;
    if let Some(signer) = &report.signer {
        writeln!(out, "  echo '{}' > signers", one_line(&signer.allowed))?;
        writeln!(
            out,
            "  ssh-keygen -Y verify -f signers -I {machine} -n state-archive -s $ID.txt.sig < $ID.txt"
        )?;
    }
    let data = if is_encrypted {
        "$ID.tar.zst.age"
    } else {
        "$ID.tar.zst"
    };
    writeln!(
        out,
        "  sed -n \"s/^data-sha256: \\(.*\\)/\\1  {data}/p\" $ID.txt | sha256sum -c"
    )?;
    if is_encrypted {
        writeln!(out, "  age -d -i KEYFILE -o $ID.tar.zst $ID.tar.zst.age")?;
    }
    writeln!(
        out,
        "  # `parent:` in $ID.txt names an archive that comes before it: all this with that one first."
    )?;
    writeln!(out, "  # Before one that has a parent is extracted:")?;
    writeln!(
        out,
        "  zstd -d < $ID.tar.zst | tar -xO ./.state/deleted | (cd DIR && xargs -0 -r rm -rf --)"
    )?;
    writeln!(
        out,
        "  zstd -d < $ID.tar.zst | tar -xp --numeric-owner --xattrs --xattrs-include='*' --acls -C DIR"
    )?;
    writeln!(out, "  (cd DIR && sha256sum -c --quiet .state/SHA256SUMS)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::recovery_sheet::{Config, Newest, Signer, Target};
    use chrono::DateTime;

    fn report() -> Report {
        let time = DateTime::from_timestamp(1_795_261_025, 0).unwrap();
        Report {
            machine: "blitzar".into(),
            time,
            root: Some("btrfs"),
            stores: vec!["/persist".into()],
            config: Some(Config {
                repo: "/persist/etc/nixos".into(),
                url: Some("https://example.org/nixos.git".into()),
                commit: Some("0123".into()),
            }),
            targets: vec![Target {
                name: "nas".into(),
                url: "sftp://backup@nas/srv/state".into(),
                with: vec!["key: /persist/secrets/backup".into()],
                newest: Some(Newest {
                    id: "20261121T113705Z-3f6a90c1".into(),
                    published: time,
                }),
                fetch: "sftp backup@nas:/srv/state/blitzar/$ID.'*' .".into(),
            }],
            signer: Some(Signer {
                fingerprint: "SHA256:abc".into(),
                allowed: "blitzar namespaces=\"state-archive\" ssh-ed25519 AAAA".into(),
            }),
            encrypted_to: vec!["age1ann".into(), "age1bob".into()],
        }
    }

    #[test]
    fn the_page_has_all_that_a_person_with_an_empty_disk_needs() {
        let text = Screen::text(None, |out| human(&report(), out));
        assert_eq!(
            text,
            "\
Recovery sheet of blitzar, printed 2026-11-21 11:37
There is no secret on this page. Keep it where the machine is not.

The machine
  root on btrfs, kept in /persist
  configuration: https://example.org/nixos.git (/persist/etc/nixos)

Its archives
  nas: sftp://backup@nas/srv/state
    key: /persist/secrets/backup (on the machine: have a copy elsewhere)
    newest when this was printed: 20261121T113705Z-3f6a90c1

Keys
  signed by SHA256:abc
  blitzar namespaces=\"state-archive\" ssh-ed25519 AAAA
  readable by age1ann
  readable by age1bob
  the private keys lie (fill in by hand): ______________________________

With `state`, from any live medium
  state restore --from 'sftp://backup@nas/srv/state' --machine blitzar \\
    --trust-key SHA256:abc \\
    --identity KEYFILE \\
    --provision DEVICE --backend btrfs --dry-run    # then without --dry-run

Without it: OpenSSH, zstd, GNU tar and coreutils
  ID=20261121T113705Z-3f6a90c1    # or a newer one
  sftp backup@nas:/srv/state/blitzar/$ID.'*' .
  echo 'blitzar namespaces=\"state-archive\" ssh-ed25519 AAAA' > signers
  ssh-keygen -Y verify -f signers -I blitzar -n state-archive -s $ID.txt.sig < $ID.txt
  sed -n \"s/^data-sha256: \\(.*\\)/\\1  $ID.tar.zst.age/p\" $ID.txt | sha256sum -c
  age -d -i KEYFILE -o $ID.tar.zst $ID.tar.zst.age
  # `parent:` in $ID.txt names an archive that comes before it: all this with that one first.
  # Before one that has a parent is extracted:
  zstd -d < $ID.tar.zst | tar -xO ./.state/deleted | (cd DIR && xargs -0 -r rm -rf --)
  zstd -d < $ID.tar.zst | tar -xp --numeric-owner --xattrs --xattrs-include='*' --acls -C DIR
  (cd DIR && sha256sum -c --quiet .state/SHA256SUMS)
"
        );
        assert!(text.lines().count() < 60, "one page");
    }

    #[test]
    fn a_machine_without_keys_and_targets_has_a_shorter_one() {
        let bare = Report {
            root: None,
            config: None,
            targets: Vec::new(),
            signer: None,
            encrypted_to: Vec::new(),
            ..report()
        };
        assert_eq!(
            Screen::text(None, |out| human(&bare, out)),
            "\
Recovery sheet of blitzar, printed 2026-11-21 11:37
There is no secret on this page. Keep it where the machine is not.

The machine
  root on a disk that is not erased, kept in /persist
  configuration: in no repository that is known

Its archives
  none are made: no target is configured

Keys
  archives are not signed
  archives are not encrypted
"
        );
    }
}
