//! What changes do to traffic: `traffic` asked, its answers put into words and given to the changes. Reads only.
//!
//! Input: both rulesets, their differences, and the changes that were made of those, in the same order; output: each
//! change's `impact`. What cannot be computed says so in `impact_incomplete`, and is never "no effect".

use super::flows::wanted;
use super::lines::{Lines, LiveLines};
use super::native;
use super::place::Place;
use crate::compare::Difference;
use crate::decode;
use crate::ledger::Baseline;
use crate::model::{Backend, BaselineLine, Change, Decider, Effect, Item, Provenance, Ruleset, Text};
use crate::policy::{Policy, severity};
use crate::report::time::utc;
use crate::traffic::effects::{Answer, Budget, DeciderIndex, DeciderRef, Found, effects_of};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why the effect of a change is not known yet.
const LATER: &str = "not computed: the rules were changing without pause; `fwdrift check` computes it";

/// With more open changes than this, those whose effect is known keep it, and only that of the others is computed: against
/// the baseline, but for their own packets. With fewer, the effect of all together is.
const TOGETHER: usize = 16;

/// What effects are judged by.
pub(super) struct Judges<'a> {
    /// Severities and required flows.
    pub(super) policy: &'a Policy,
    /// Where the host stands.
    pub(super) place: &'a Place,
}

/// What is compared.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) before: &'a Ruleset,
    pub(super) after: &'a Ruleset,
    pub(super) differences: &'a [Difference],
    /// What `before` was made of, if that is what is approved.
    pub(super) baseline: Option<&'a Baseline>,
}

/// Fills the changes' `impact` and `severity`. `changes` begins with those of the differences, in their order.
pub(super) fn assess(pair: Pair<'_>, changes: &mut [Change], open: &[Change], judges: &Judges<'_>) {
    let known = if changes.len() > TOGETHER { keep_known(changes, open) } else { BTreeSet::new() };
    fill(pair, changes, &known, judges);
    let counted = pair.differences.len().min(changes.len());
    let Judges { policy, .. } = judges;
    for change in &mut changes[..counted] {
        let effects = change.impact.as_deref();
        change.severity = match (effects, &change.impact_incomplete) {
            (Some(effects), _) => Some(severity(change, effects, &policy.severities, &policy.flows)),
            (None, Some(_)) => Some(severity(change, &[], &policy.severities, &policy.flows)),
            (None, None) => None,
        };
    }
}

fn fill(pair: Pair<'_>, changes: &mut [Change], known: &BTreeSet<usize>, judges: &Judges<'_>) {
    let Pair { before, after, differences, baseline } = pair;
    let counted = differences.len().min(changes.len());
    let asked = |at: &usize| !known.contains(at);
    for at in (0..counted).filter(asked) {
        (changes[at].impact, changes[at].impact_incomplete) = unmodelled(&changes[at]);
    }
    let news: Vec<usize> = (0..counted).filter(asked).collect();
    if differences.iter().all(is_beside) {
        return;
    }
    let sides = native::both(before, after);
    let mut computed = BTreeSet::new();
    for at in news.iter().copied().filter(|at| changes[*at].impact.is_some()).collect::<Vec<_>>() {
        match sides.iter().find_map(|side| side.hides(&differences[at])) {
            None => {
                computed.insert(at);
            }
            Some(why) => {
                changes[at].impact = None;
                changes[at].impact_incomplete = Some(format!("not computed: {why}"));
            }
        }
    }
    if computed.is_empty() {
        return;
    }
    let [old, new] = &sides;
    let (old, new) = (&old.ruleset, &new.ruleset);
    let of_policy = judges.policy.flows.iter();
    let flows: Vec<_> = of_policy.map(|flow| (flow.name.clone(), wanted(flow, judges.place))).collect();
    let Answer { found, incomplete } =
        effects_of(old, new, differences, &|at| computed.contains(&at), &flows, budget());
    let was = found.iter().filter_map(|found| found.was.as_ref());
    let now = found.iter().filter_map(|found| found.now.as_ref());
    let texts = [
        with_texts_of(before, was, known_texts(differences, changes, |one| (&one.0.before, &one.1.before))),
        with_texts_of(after, now, known_texts(differences, changes, |one| (&one.0.after, &one.1.after))),
    ];
    let approved = baseline.filter(|_| !found.is_empty()).map(|baseline| Lines::new(baseline, before));
    let lines = approved.as_ref().map(|approved| approved.live(differences));
    let telling = Telling { texts, lines, deciders: DeciderIndex::after(differences) };
    let first = computed.first().copied();
    for one in &found {
        let Some(at) = one.difference.filter(|at| *at < counted).or(first) else { continue };
        let effect = telling.tell(one, changes);
        changes[at].impact.get_or_insert_default().push(effect);
    }
    if incomplete.is_empty() {
        return;
    }
    let why = format!("inconclusive: {}", incomplete.join("; "));
    for at in computed {
        let change = &mut changes[at];
        if change.impact.as_ref().is_some_and(Vec::is_empty) {
            change.impact = None;
        }
        change.impact_incomplete = Some(why.clone());
    }
}

/// Takes over the effects that are known; the places of those changes.
fn keep_known(changes: &mut [Change], open: &[Change]) -> BTreeSet<usize> {
    let mut known = BTreeSet::new();
    let open = by_id(open);
    for (at, change) in changes.iter_mut().enumerate() {
        let before = open.get(&*change.id);
        if let Some(before) = before.filter(|before| is_known(before)) {
            take_over(change, before);
            known.insert(at);
        }
    }
    known
}

fn by_id(changes: &[Change]) -> HashMap<&str, &Change> {
    changes.iter().map(|change| (&*change.id, change)).collect()
}

fn is_known(change: &Change) -> bool {
    let why = change.impact_incomplete.as_deref();
    why != Some(LATER) && (change.impact.is_some() || why.is_some())
}

fn take_over(change: &mut Change, from: &Change) {
    change.severity = from.severity;
    change.impact.clone_from(&from.impact);
    change.impact_incomplete.clone_from(&from.impact_incomplete);
}

/// Leaves the effects to a later look: changes that were open keep theirs, of others it is said.
pub(super) fn put_off(changes: &mut [Change], open: &[Change]) {
    let open = by_id(open);
    for change in changes {
        match open.get(&*change.id) {
            Some(known) => take_over(change, known),
            None => change.impact_incomplete = Some(LATER.to_owned()),
        }
    }
}

/// Takes the impact from what was remembered, if exactly these changes are open since then: then nothing is different.
/// Whether that was so.
pub(super) fn remembered(changes: &mut [Change], open: &[Change]) -> bool {
    let known = by_id(open);
    let is_remembered = |change: &Change| known.get(&*change.id).is_some_and(|known| is_known(known));
    let same = changes.len() == open.len() && changes.iter().all(is_remembered);
    for change in changes.iter_mut().filter(|_| same) {
        if let Some(known) = known.get(&*change.id) {
            take_over(change, known);
        }
    }
    same
}

/// Some seconds at most; a debug build takes some ten times as long for each step.
fn budget() -> Budget {
    let budget = Budget::default();
    if cfg!(debug_assertions) { Budget { steps: budget.steps / 10, ..budget } } else { budget }
}

/// What a change begins with: no effect, or that there is no model for it.
fn unmodelled(change: &Change) -> (Option<Vec<Effect>>, Option<String>) {
    use crate::model::Source;
    let what = match change.source {
        Source::Sysctl => "not computed: what a kernel setting does to traffic",
        Source::Bpf => "not computed: what a BPF program does to traffic",
        Source::Nft
        | Source::IptablesNft
        | Source::IptablesLegacy
        | Source::Arptables
        | Source::Ebtables
        | Source::Ipset => return (Some(Vec::new()), None),
    };
    (None, Some(what.to_owned()))
}

fn is_beside(difference: &Difference) -> bool {
    [&difference.before, &difference.after]
        .into_iter()
        .flatten()
        .all(|item| matches!(item.table().backend, Backend::Sysctl | Backend::Bpf))
}

/// The texts of rules that differ: the changes hold them.
fn known_texts<'c>(
    differences: &'c [Difference],
    changes: &'c [Change],
    side: impl Fn((&'c Difference, &'c Change)) -> (&'c Option<Item>, &'c Option<String>),
) -> BTreeMap<Item, Text> {
    let both = differences.iter().zip(changes).map(side);
    both.filter_map(|(item, text)| match (item, text) {
        (Some(item @ Item::Rule(..)), Some(text)) => Some((item.clone(), Text::new(text.clone(), true))),
        _ => None,
    })
    .collect()
}

/// The rules' texts, as far as they can be had.
pub(super) fn texts_of<'d>(
    ruleset: &Ruleset,
    deciders: impl Iterator<Item = &'d DeciderRef>,
) -> BTreeMap<Item, Text> {
    with_texts_of(ruleset, deciders, BTreeMap::new())
}

/// As [`texts_of`], with those that are known already: each of the others takes a scratch namespace.
fn with_texts_of<'d>(
    ruleset: &Ruleset,
    deciders: impl Iterator<Item = &'d DeciderRef>,
    mut known: BTreeMap<Item, Text>,
) -> BTreeMap<Item, Text> {
    let items: BTreeSet<Item> =
        deciders.filter_map(item_of).filter(|item| !known.contains_key(item)).collect();
    if !items.is_empty() {
        known.extend(decode::decode(ruleset, &items).unwrap_or_default());
    }
    known
}

fn item_of(decider: &DeciderRef) -> Option<Item> {
    Some(Item::Rule(decider.table.clone(), decider.chain.clone(), decider.rule?))
}

/// A decider with its text.
pub(super) fn decider(
    of: &DeciderRef,
    texts: &BTreeMap<Item, Text>,
    provenance: Option<Provenance>,
) -> Decider {
    let text = match item_of(of) {
        Some(item) => texts.get(&item).map(|text| text.text.trim().to_owned()),
        None => Some(format!("policy {}", of.fate.as_str())),
    };
    Decider {
        verdict: of.fate.as_str().to_owned(),
        table: of.table.to_string(),
        chain: of.chain.to_string(),
        position: of.rule.map(|place| place + 1),
        text,
        baseline: match &provenance {
            Some(Provenance::Approved { path, line, .. }) => {
                Some(BaselineLine { path: path.clone(), line: *line })
            }
            Some(Provenance::Drift { .. }) | None => None,
        },
        provenance,
    }
}

/// What statements are told with.
struct Telling<'a> {
    /// Of rules of both sides.
    texts: [BTreeMap<Item, Text>; 2],
    lines: Option<LiveLines<'a>>,
    /// Live deciders that differ.
    deciders: DeciderIndex,
}

impl Telling<'_> {
    /// A statement with its sentence and its deciders.
    fn tell(&self, found: &Found, changes: &[Change]) -> Effect {
        let lines = self.lines.as_ref();
        let mut effect = found.effect.clone();
        effect.was = found.was.as_ref().map(|of| Decider {
            baseline: lines.and_then(|lines| lines.of_approved(of)),
            ..decider(of, &self.texts[0], None)
        });
        effect.now = found.now.as_ref().map(|of| Decider {
            baseline: lines.and_then(|lines| lines.of(of)),
            ..decider(of, &self.texts[1], self.drift(of, changes))
        });
        effect.statement = sentence(&effect, &found.phrase);
        effect
    }

    /// Who put a live rule there, if it is drift itself.
    fn drift(&self, of: &DeciderRef, changes: &[Change]) -> Option<Provenance> {
        let change = changes.get(self.deciders.find(of)?)?;
        Some(Provenance::Drift {
            id: change.id.clone(),
            author: Box::new(change.author.clone()),
            time: change.time,
        })
    }
}

/// `cut  tcp 10.0.1.0/24 → 10.0.2.9:3306 at input; was accepted by "…", now dropped by "…" (added by ops1 …)`.
fn sentence(effect: &Effect, phrase: &str) -> String {
    // In columns, as `opened` is the longer word.
    let mut out = format!("{}  {phrase}, at {}", effect.effect.as_str(), effect.hook);
    if !effect.conditions.is_empty() {
        out.push_str(&format!(", if {}", effect.conditions.join(" and ")));
    }
    let by = |decider: &Decider| {
        let done = match decider.verdict.as_str() {
            "accept" => "accepted",
            "drop" => "dropped",
            "reject" => "rejected",
            _ => "taken",
        };
        let line = decider.baseline.as_ref().map(|at| format!(" (baseline line {})", at.line));
        let line = line.unwrap_or_default();
        match (&decider.text, decider.position) {
            (Some(text), Some(_)) => format!("{done} by \"{text}\"{line}"),
            (Some(text), None) => format!("{done} by {text} of chain {}{line}", decider.chain),
            (None, Some(place)) => format!("{done} by rule {place} of chain {}{line}", decider.chain),
            (None, None) => done.to_owned(),
        }
    };
    if let Some(was) = &effect.was {
        out.push_str(&format!("; was {}", by(was)));
    }
    if let Some(now) = &effect.now {
        out.push_str(&format!("{} now {}", if effect.was.is_some() { "," } else { ";" }, by(now)));
        if let Some(Provenance::Drift { author, time, .. }) = &now.provenance
            && author.is_known()
        {
            let when = time.map(|time| format!(" {}", utc(time))).unwrap_or_default();
            out.push_str(&format!(" (by {}{when})", author.name));
        }
    }
    out
}
