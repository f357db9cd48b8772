//! The invariants: what must be so at any moment, and what when a run has finished.

use super::{Ask, Ran, Stakes, Sweep, request};
use crate::rig::{Rig, World};
use crate::tree::{Tree, is_part_of};
use state_api::{Kind, RootBackend};

fn differences(was: &World, is: &World) -> Vec<String> {
    let mut all = Vec::new();
    if was.blank != is.blank {
        all.push("blank changed or is gone".into());
    }
    if was.previous != is.previous {
        all.push("the previous blank changed or is gone".into());
    }
    if was.bystanders != is.bystanders {
        all.push(format!(
            "something else on the disk changed\n  was: {:?}\n  is: {:?}",
            was.bystanders, is.bystanders
        ));
    }
    for (name, tree) in &was.past {
        // A root that was left half put away may also be taken back.
        let taken_back = was.root.is_none() && is.root.as_ref() == Some(tree);
        if is.past.get(name) != Some(tree) && !taken_back {
            all.push(format!("past root {name} changed or is gone"));
        }
    }
    all
}

/// What root may be made of: the tree that the request names.
pub(super) fn wanted(before: &World, ask: Ask, newest: Option<&str>) -> Option<Tree> {
    match ask {
        Ask::Keep | Ask::GiveUp => before.blank.clone(),
        Ask::Past => before.past.get(newest?).cloned(),
        Ask::Skip => None,
    }
}

impl<R: Rig, B: RootBackend> Sweep<'_, R, B> {
    pub(super) fn newest(&self, rig: &R) -> Option<String> {
        let backend = (self.open)(rig);
        let survey = backend.survey().ok()?;
        let facts = backend.facts(&survey);
        Some(facts.past_roots.last()?.name.as_str().to_owned())
    }

    /// Invariants 1 to 3 at a moment of a run that began in `before`.
    pub(super) fn check_moment(
        &mut self,
        way: &str,
        (before, now): (&World, &World),
        ask: Ask,
        wanted: Option<&Tree>,
        stakes: &Stakes,
    ) {
        let mut findings = differences(before, now);
        let part_of = |whole: Option<&Tree>| match (&now.root, whole) {
            (Some(part), Some(whole)) => stakes.is_piecemeal && is_part_of(part, whole),
            _ => false,
        };
        let is_fresh = now.root.is_some()
            && (now.root.as_ref() == wanted
                || now.root == before.blank
                || part_of(wanted)
                || part_of(before.blank.as_ref()));
        let is_untouched = now.root.as_ref().is_some_and(|root| {
            let mut lived = stakes.precious.iter().chain(&before.root);
            lived.any(|tree| stakes.is(tree, root))
        });
        let goes_back = stakes.is_piecemeal && ask == Ask::GiveUp;
        if now.root.is_some() && !is_fresh && !is_untouched && !goes_back {
            findings.push(format!(
                "root is neither fresh nor the untouched outgoing root: {:?}",
                now.root
            ));
        }
        for tree in &stakes.precious {
            if stakes.held(tree, now) {
                continue;
            }
            let given_up = ask == Ask::GiveUp && before.root.as_ref() == Some(tree);
            if !given_up {
                findings.push(format!("a root that was lived in is nowhere: {tree:?}"));
            } else if !is_fresh && !stakes.is_piecemeal {
                findings.push("the outgoing root was given up before the new one stood".into());
            }
        }
        for finding in findings {
            self.found(way, finding);
        }
    }

    /// Everything that must be so after a run that began in `before` and succeeded.
    pub(super) fn check_finished(
        &mut self,
        way: &str,
        before: &World,
        rig: &R,
        (ask, ran): (Ask, &Ran),
        wanted: Option<&Tree>,
        stakes: &Stakes,
    ) {
        let now = rig.world();
        let mut findings = differences(before, &now);
        if let Some(error) = &ran.error {
            // Not every past root can be made a root again; then nothing is touched.
            if ask == Ask::Past && error.kind() == Kind::Refused && now == *before {
                return;
            }
            self.found(
                way,
                format!("did not finish: {error}\n  plan: {:#?}", ran.plan),
            );
            return;
        }
        match (ask, &before.root, &now.root) {
            (_, _, None) => findings.push("there is no root".into()),
            (Ask::Skip, Some(was), Some(is)) if !stakes.is(was, is) => {
                findings.push("root changed though the reset was to be skipped".into());
            }
            (Ask::Skip, None, is) => {
                let mut made = stakes.precious.iter().chain(&before.blank);
                if !made.any(|tree| Some(tree) == is.as_ref()) {
                    findings.push(format!("root was made of something unknown: {is:?}"));
                }
            }
            (Ask::Skip, ..) => (),
            (_, _, Some(is)) if !wanted.is_some_and(|wanted| stakes.is(is, wanted)) => {
                findings.push(format!("root is not what was asked for, but {is:?}"));
            }
            _ => (),
        }
        for tree in &stakes.precious {
            let given_up = ask == Ask::GiveUp && before.root.as_ref() == Some(tree);
            if !given_up && !stakes.kept(tree, &now) {
                findings.push(format!("a root that was lived in was not kept: {tree:?}"));
            }
        }
        let new = |(name, tree): &(&String, &Tree)| {
            let known = stakes
                .precious
                .iter()
                .chain(&before.root)
                .chain(&before.blank);
            let mut known = known.chain(&before.previous).chain(before.past.values());
            !before.past.contains_key(*name)
                && !known.any(|k| stakes.is(k, tree) || ask == Ask::GiveUp && is_part_of(tree, k))
        };
        if let Some((name, tree)) = now.past.iter().find(new) {
            findings.push(format!("{name} is no root that ever was: {tree:?}"));
        }
        if !now.strays.is_empty() {
            findings.push(format!("left behind: {:?}", now.strays.keys()));
        }
        if now.standing != stakes.standing {
            findings.push(format!(
                "what stood has changed\n  was: {:?}\n  is:  {:?}",
                stakes.standing, now.standing
            ));
        }
        if !rig.is_durable() {
            findings.push("said to be done, but a power cut would undo it".into());
        }
        findings.extend(self.still_to_do(rig, &now));
        for finding in findings {
            self.found(way, format!("{finding}\n  plan: {:#?}", ran.plan));
        }
    }

    /// What the engine itself still sees to do after a finished run.
    fn still_to_do(&self, rig: &R, now: &World) -> Vec<String> {
        let backend = (self.open)(rig);
        let survey = match backend.survey() {
            Ok(survey) => survey,
            Err(error) => return vec![format!("the survey afterwards fails: {error}")],
        };
        let facts = backend.facts(&survey);
        let mut findings = Vec::new();
        if !facts.leftovers.is_empty() || !facts.refusals.is_empty() {
            findings.push(format!(
                "still to do: {:?}, refusing: {:?}",
                facts.leftovers, facts.refusals
            ));
        }
        let mut names: Vec<&str> = facts.past_roots.iter().map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        let on_disk: Vec<&str> = now.past.keys().map(String::as_str).collect();
        if names != on_disk {
            findings.push(format!("past roots are {on_disk:?}, listed are {names:?}"));
        }
        let increasing = |pair: &[state_api::PastRoot]| pair[0].sequence <= pair[1].sequence;
        if !facts.past_roots.windows(2).all(increasing) {
            findings.push("past roots are not listed oldest first".into());
        }
        if facts.exists != now.root.is_some() || facts.blank.is_some() != now.blank.is_some() {
            findings.push(format!("the facts are wrong: {facts:?}"));
        }
        let skip = request(&facts, Ask::Skip).expect("it needs no past root");
        match backend.plan_reset(&survey, &skip) {
            Ok(plan) if plan.is_nothing() => (),
            Ok(plan) => {
                let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
                findings.push(format!("the next run still finds to do: {steps:#?}"));
            }
            Err(error) => findings.push(format!("the next run is refused: {error}")),
        }
        findings
    }
}
