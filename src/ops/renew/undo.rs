//! `state blank undo`: the previous blank is the blank again.

use super::boot::{self, Stranger};
use super::refuse_unless_able;
use crate::anchor::Anchor;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::ops::act::{self, Act};
use crate::ops::reset::no_root;
use crate::{config, engine, settings};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Blank, Renewal, RootBackend, Source};

/// What taking a renewal back did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Undo {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The root volume.
    pub root: String,
    /// The blank that was replaced; it is the previous one now, and the next undo's.
    pub replaced: Option<Blank>,
    /// The blank as it is afterwards (in a dry run: as it is now).
    pub blank: Option<Blank>,
    /// The plan.
    pub plan: Vec<Act>,
    /// How many names in `/boot` were renewed, where that is a part of root.
    pub boot: usize,
}

/// Makes the previous blank the blank. `kernel` is what the boot loader starts, where that is not
/// the newest one in a `/boot` of its own.
///
/// # Errors
/// There is no previous blank, it does not fit the kernel that starts, or an act failed.
pub fn undo(cx: &Context, kernel: Option<&str>) -> anyhow::Result<Undo> {
    let settings = config::load(cx)?;
    let root = settings.root.as_ref().ok_or_else(no_root)?;
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut engine = engine::root(cx, root, &settings.persist)?;
    engine::on_root!(&mut engine, on => undo_on(cx, on, root, kernel))
}

fn undo_on<B: RootBackend>(
    cx: &Context,
    on: &mut B,
    root: &settings::Root,
    kernel: Option<&str>,
) -> anyhow::Result<Undo> {
    refuse_unless_able(on, root)?;
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let doing = || "taking the last renewal of blank back";
    let plan = on
        .plan_renewal(&survey, Renewal::Undo)
        .with_context(doing)?;
    let machine = Machine::look(cx).context("looking at the machine")?;
    if let (true, Some(previous)) = (boot::is_apart(&machine), &facts.previous_blank) {
        let view = on.open_previous_blank().with_context(doing)?;
        let previous_root = Anchor::from(view.dir.try_clone().with_context(doing)?);
        let here = Anchor::open(&cx.root_dir).context("opening root")?;
        let stranger = boot::stranger(&machine, &here, &previous_root, kernel);
        let stranger = stranger.with_context(doing)?;
        if let Some(Stranger { kernel, modules }) = stranger {
            let name = &previous.name;
            let fact = format!("/boot starts {kernel}, and {name} has no modules for it");
            let failure = Failure::refused(fact).hint(format!(
                "it has those for {}: have the boot loader start that, and say so with `--kernel`",
                modules.join(", ")
            ));
            return Err(failure).with_context(doing);
        }
    }
    let (acts, blank, boot) = if cx.dry_run {
        (act::planned(&plan), facts.blank.clone(), 0)
    } else {
        let (acts, ended) = act::carry_out(on, &survey, &plan, cx.interrupt);
        ended.with_context(doing)?;
        let blank = on.open(&Source::Blank)?;
        let boot = boot::follow(cx, &machine, &blank).map_err(boot::unfollowed)?;
        let survey = on.survey().context("looking at root")?;
        (acts, on.facts(&survey).blank, boot)
    };
    Ok(Undo {
        executed: !cx.dry_run,
        root: facts.root,
        replaced: facts.blank,
        blank,
        plan: acts,
        boot,
    })
}
