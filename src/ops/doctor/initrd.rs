//! The next boot: the initrd it starts with is one that resets, and the system's units are as
//! they were installed.

use super::{Facts, Finding, Severity};
use crate::boot::initrd::find;
use crate::boot::maker::Maker;
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::ops::initrd::{self, Image, Verdict};
use crate::ops::install_boot::{self, COMMAND};
use crate::ops::renew;
use crate::paths::Shown;
use crate::persist::PersistTree;
use crate::settings::Settings;
use std::path::{Path, PathBuf};

const CHECK: &str = "initrd";

/// What was seen.
#[derive(Debug)]
pub(crate) struct Boot {
    /// The initrds.
    pub(super) seen: Result<initrd::Seen, Told>,
    /// What `state init --install-boot` would write and how it makes initrds.
    pub(super) install: Result<Install, Told>,
}

/// What it would do.
#[derive(Debug, Default)]
pub(super) struct Install {
    /// The files that are not as they should be.
    pub(super) new: Vec<PathBuf>,
    /// The command that makes the initrds anew.
    pub(super) command: String,
}

/// A failure in words, and its cure.
pub(super) type Told = (String, Option<String>);

/// `None` where nothing is erased, and on NixOS, whose initrd and units are made together with
/// everything else.
pub(super) fn look(
    cx: &Context,
    machine: &crate::machine::Machine,
    settings: &Settings,
    tree: Option<&PersistTree>,
) -> Option<Boot> {
    if machine.distribution.is_nixos {
        return None;
    }
    let install = install_boot::install(&cx.planning(), machine, None, settings, tree?);
    Some(Boot {
        seen: initrd::look(cx).transpose()?.map_err(told),
        install: install.map_err(told).map(|report| Install {
            new: report.stale(),
            command: report.maker.map(Maker::command).unwrap_or_default(),
        }),
    })
}

fn told(error: anyhow::Error) -> Told {
    let cure = error.downcast_ref::<Failure>();
    (
        message(&error),
        cure.and_then(|failure| failure.cure.clone()),
    )
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let boot = facts.initrd.as_ref()?;
    let finding = |severity, fact: String| Finding::new(CHECK, severity, fact);
    let cured = |severity, (fact, cure): &Told| Finding {
        cure: cure.clone(),
        ..finding(severity, fact.clone())
    };
    let again = again(facts, boot);
    let mut findings = Vec::new();
    let mut is_proven = false;
    match &boot.seen {
        Err(told) => findings.push(cured(Severity::Bad, told)),
        Ok(seen) => {
            is_proven = !seen.images.is_empty();
            findings.extend(seen.bare.iter().map(|kernel| {
                let fact = format!("the newest kernel, {kernel}, has no initrd: it starts without a reset, if it starts");
                finding(Severity::Bad, fact).cure(again.clone())
            }));
            for image in &seen.images {
                findings.extend(faults(image, &again));
            }
            if seen.images.is_empty() {
                let fact = "no initrd was found in /boot or /efi: nothing tells that the next boot will be reset";
                findings.push(finding(Severity::Warn, fact.into()).cure(
                    "mount what the machine boots from; an initrd elsewhere must hold what docs/boot.md says",
                ));
            }
        }
    }
    match &boot.install {
        Ok(install) if install.new.is_empty() => {}
        Ok(install) => {
            let files: Vec<String> = install
                .new
                .iter()
                .map(|path| Shown(path).to_string())
                .collect();
            let fact = format!(
                "not as `state init --install-boot` writes them: {}",
                files.join(", ")
            );
            findings.push(finding(Severity::Warn, fact).cure(again));
        }
        // Who made an initrd that is right in another way needs none of it.
        Err(_) if is_proven && findings.is_empty() => {}
        Err(told) if boot.seen.as_ref().err() == Some(told) => {}
        Err(told) => findings.push(cured(Severity::Warn, told)),
    }
    Some(findings)
}

/// What makes the initrds anew so that they stay.
fn again(facts: &Facts, boot: &Boot) -> String {
    let root = facts
        .config
        .as_ref()
        .ok()
        .and_then(|config| config.settings.root.as_ref());
    let has_blank = matches!(&facts.root, Some(Ok(told)) if told.blank.is_some());
    let is_here = facts.machine.is_running && facts.root_dir == Path::new("/");
    match (&boot.install, root) {
        // A refusal has its own cure.
        (Err((_, Some(cure))), _) => cure.clone(),
        (_, Some(root)) if is_here && (has_blank || find::is_covered(&facts.machine, root)) => {
            renew::lasting(root, COMMAND)
        }
        (Ok(install), _) => format!(
            "`{COMMAND}` puts that right and makes the initrds anew (`{}`)",
            install.command
        ),
        (Err(_), _) => format!("`{COMMAND}` puts that right and makes the initrds anew"),
    }
}

fn faults(image: &Image, again: &str) -> Vec<Finding> {
    let at = Shown(&image.path);
    let severity = match image.is_next {
        true => Severity::Bad,
        false => Severity::Warn,
    };
    if image.verdict == Verdict::Denied {
        let fact = format!("{at} cannot be read by everybody");
        return vec![Finding::new(CHECK, Severity::Note, fact).cure("ask as root")];
    }
    let faults = image.faults().into_iter();
    let finding = |fault| Finding::new(CHECK, severity, format!("{at}: {fault}")).cure(again);
    faults.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::tests::found;

    fn image(path: &str, is_next: bool, faults: &[&str]) -> Image {
        let faults = faults.iter().map(ToString::to_string).collect();
        Image {
            path: path.into(),
            is_next,
            verdict: Verdict::Read(faults),
        }
    }

    fn seen(images: Vec<Image>) -> Boot {
        Boot {
            seen: Ok(initrd::Seen { images, bare: None }),
            install: Ok(Install {
                new: Vec::new(),
                command: "update-initramfs -u -k all".into(),
            }),
        }
    }

    #[test]
    fn the_next_boot_is_judged_by_its_initrd() {
        let no_maker = || Err(("no maker of initrds was found".to_owned(), None));
        let good = || vec![image("/boot/initrd.img-2", true, &[])];
        let table: [(Boot, &[&str]); 9] = [
            (seen(good()), &[]),
            (
                seen(vec![
                    image("/boot/initrd.img-2", true, &["state is not in it"]),
                    image("/boot/initrd.img-1", false, &["a is wrong", "b too"]),
                ]),
                &[
                    "initrd Bad: /boot/initrd.img-2: state is not in it",
                    "initrd Warn: /boot/initrd.img-1: a is wrong",
                    "initrd Warn: /boot/initrd.img-1: b too",
                ],
            ),
            (
                seen(vec![Image {
                    verdict: Verdict::Denied,
                    ..image("/boot/initrd.img-2", true, &[])
                }]),
                &["initrd Note: /boot/initrd.img-2 cannot be read by everybody"],
            ),
            (
                seen(vec![Image {
                    verdict: Verdict::Unreadable("it is cut short".into()),
                    ..image("/boot/initrd.img-2", true, &[])
                }]),
                &["initrd Bad: /boot/initrd.img-2: it cannot be read: it is cut short"],
            ),
            (
                Boot {
                    seen: Ok(initrd::Seen {
                        images: vec![image("/boot/initrd.img-1", false, &[])],
                        bare: Some("2".into()),
                    }),
                    ..seen(Vec::new())
                },
                &[
                    "initrd Bad: the newest kernel, 2, has no initrd: it starts without a reset, if it starts",
                ],
            ),
            (
                seen(Vec::new()),
                &[
                    "initrd Warn: no initrd was found in /boot or /efi: nothing tells that the next boot will be reset",
                ],
            ),
            (
                Boot {
                    install: Ok(Install {
                        new: vec!["/etc/systemd/system/state-mount.service".into()],
                        command: String::new(),
                    }),
                    ..seen(good())
                },
                &[
                    "initrd Warn: not as `state init --install-boot` writes them: /etc/systemd/system/state-mount.service",
                ],
            ),
            // Made right by something else than what we know.
            (
                Boot {
                    install: no_maker(),
                    ..seen(good())
                },
                &[],
            ),
            // The same reason for both is told once.
            (
                Boot {
                    seen: Err(("no maker of initrds was found".to_owned(), None)),
                    install: no_maker(),
                },
                &["initrd Bad: no maker of initrds was found"],
            ),
        ];
        for (boot, expected) in table {
            assert_eq!(found(|facts| facts.initrd = Some(boot)), *expected);
        }
    }
}
