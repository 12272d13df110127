//! `check --boot`: what the next boot would bring, beside the live state and the approved one. Reads only.

use super::PipelineError;
use super::impact::{self, Pair};
use super::look::{Checked, stand_in};
use super::place::Judged;
use super::words::compared;
use crate::boot;
use crate::compare::{Difference, Known};
use crate::config::Settings;
use crate::model::{
    Approves, Backend, BootChange, BootResult, BootState, Change, ChangeKind, Gap, Item, Ruleset, TableKey,
    Verdict,
};
use crate::policy;
use std::path::Path;

/// Compares the boot state with the live and the approved one of a look.
pub fn next_boot(settings: &Settings, checked: &Checked, root: &Path) -> Result<BootResult, PipelineError> {
    let (mut live, mut approved) = (checked.live().clone(), checked.approved().clone());
    for backend in [Backend::Sysctl, Backend::Bpf] {
        live.tables.remove(&TableKey::of_all(backend));
        approved.tables.remove(&TableKey::of_all(backend));
    }
    let found = boot::look(root, &live.interfaces)?;
    let mut boot = found.ruleset;
    stand_in(&mut boot, &live, &found.gaps);
    found.unknown.stand_in(&mut boot, &live);
    let none = Known::default();
    let drift = compared(&approved, &live, &none)?.differences;
    let at_boot = compared(&approved, &boot, &none)?.differences;
    let differences = compared(&boot, &live, &none)?.differences;
    let effects = effects(settings, checked, (&live, &boot), &differences)?;
    let sides = Sides { drift: &drift, at_boot: &at_boot };
    let judged = differences.into_iter().zip(effects).map(|(difference, of)| {
        let Change { impact, impact_incomplete, severity, .. } = of;
        let change = Change { impact, impact_incomplete, severity, ..difference.change.clone() };
        sides.judge(Difference { change, ..difference })
    });
    let changes = judged.collect();
    Ok(BootResult {
        verdict: verdict(&at_boot, &found.gaps),
        changes,
        unapproved: at_boot.len(),
        gaps: found.gaps,
        providers: found.providers,
    })
}

/// What booting does to traffic: the changes from what is live to what the boot loads, which is the other way round.
fn effects(
    settings: &Settings,
    checked: &Checked,
    (live, boot): (&Ruleset, &Ruleset),
    differences: &[Difference],
) -> Result<Vec<Change>, PipelineError> {
    let turned: Vec<Difference> = differences.iter().map(turned).collect();
    let mut changes: Vec<Change> = turned.iter().map(|difference| difference.change.clone()).collect();
    let bytes = checked.policy();
    let policy = policy::parse(bytes)?;
    let judged = Judged::of(settings, &policy, bytes)?;
    let pair = Pair { before: live, after: boot, differences: &turned, baseline: None };
    impact::assess(pair, &mut changes, &[], &judged.judges(&policy));
    // Who wrote the files is not known, and what they hold may be approved.
    let effects = changes.iter_mut().flat_map(|change| change.impact.iter_mut().flatten());
    effects.filter_map(|effect| effect.now.as_mut()).for_each(|decider| decider.provenance = None);
    Ok(changes)
}

fn turned(difference: &Difference) -> Difference {
    let Difference { before, after, change } = difference.clone();
    let kind = match change.kind {
        ChangeKind::Added => ChangeKind::Removed,
        ChangeKind::Removed => ChangeKind::Added,
        same @ (ChangeKind::Modified | ChangeKind::Moved) => same,
    };
    let change = Change { kind, before: change.after.clone(), after: change.before.clone(), ..change };
    Difference { before: after, after: before, change }
}

fn verdict(differences: &[Difference], gaps: &[Gap]) -> Verdict {
    if !differences.is_empty() {
        Verdict::Drift
    } else if gaps.iter().any(|gap| gap.blinds_verdict) {
        Verdict::Unknown
    } else {
        Verdict::InSync
    }
}

/// What the third side, the approved state, says of the other two.
struct Sides<'a> {
    /// Approved against live.
    drift: &'a [Difference],
    /// Approved against boot.
    at_boot: &'a [Difference],
}

impl Sides<'_> {
    fn judge(&self, difference: Difference) -> BootChange {
        let approved = self.approves(&difference);
        let state = BootState::of(difference.change.kind, approved);
        BootChange { state, approved, change: difference.change }
    }

    /// An object is approved where approved and present state show no difference in it.
    fn approves(&self, difference: &Difference) -> Approves {
        let boot = difference.before.as_ref().map(|item| standing(item, self.at_boot));
        let live = difference.after.as_ref().map(|item| standing(item, self.drift));
        match (boot, live) {
            (_, Some(Standing::Approved)) => Approves::Live,
            (Some(Standing::Approved), _) => Approves::Boot,
            // In one of the two only: approved is its absence, or a third form of it.
            (Some(Standing::New), None) => Approves::Live,
            (None, Some(Standing::New)) => Approves::Boot,
            _ => Approves::Neither,
        }
    }
}

/// How an object of the live or the boot state stands to what is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is approved as it is.
    Approved,
    /// Nothing like it is approved.
    New,
    /// Another form of it is approved.
    Other,
}

/// `differences` are those of the approved state against the one that `item` is in.
fn standing(item: &Item, differences: &[Difference]) -> Standing {
    let mut found = Standing::Approved;
    for difference in differences {
        let after = difference.after.as_ref();
        if after.is_some_and(|after| after == item || is_inside(item, after)) {
            return match difference.change.kind {
                ChangeKind::Added => Standing::New,
                ChangeKind::Modified | ChangeKind::Moved | ChangeKind::Removed => Standing::Other,
            };
        }
        let inner = after.or(difference.before.as_ref());
        if inner.is_some_and(|inner| is_inside(inner, item)) {
            found = Standing::Other;
        }
    }
    found
}

/// Whether the one is a part of the other.
fn is_inside(inner: &Item, outer: &Item) -> bool {
    match (outer, inner) {
        (Item::Table(key), inner) => inner.table() == key && inner != outer,
        (Item::Chain(key, name), Item::ChainHead(table, chain) | Item::Rule(table, chain, _))
        | (Item::Set(key, name), Item::SetHead(table, chain) | Item::Element(table, chain, _)) => {
            (key, name) == (table, chain)
        }
        _ => false,
    }
}
