//! What `check --boot` says of the next boot: what the host would lose, what would come, what would change.

use super::changes::{Authors, Detail, blocks};
use super::diff::providers;
use super::style::{BAD, GOOD, HEADING, WARN, paint};
use super::wording::count;
use super::{Options, gaps};
use crate::model::{Approves, BootChange, BootResult, BootState, Change, ChangeKind, Verdict};

/// The part of `check`'s text that is about the next boot.
pub(super) fn text(result: &BootResult, options: &Options<'_>) -> String {
    let mut out = format!("\n{}\n{}", headline(result), providers(&result.providers));
    for (heading, wanted) in GROUPS {
        let changes: Vec<Change> = result
            .changes
            .iter()
            .filter(|change| wanted == (consequence(change), change.state, change.approved))
            .map(|change| change.change.clone())
            .collect();
        if !changes.is_empty() {
            out.push_str(&format!("\n{}\n", paint(HEADING, heading)));
            let text = blocks(&changes, Detail { authors: Authors::Known, ..Detail::BRIEF });
            for line in text.lines() {
                out.push_str(if line.is_empty() { "" } else { "  " });
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    if !result.changes.is_empty() {
        out.push_str("\n  - is only in what the boot loads, + is only in the live state\n");
    }
    out.push_str(&gaps::block(&result.gaps, options));
    out
}

fn headline(result: &BootResult) -> String {
    let differences = match result.changes.len() {
        0 => "the live state is what it would load".to_owned(),
        n => format!("{} from the live state", count(n, "difference", "differences")),
    };
    match result.verdict {
        Verdict::InSync => {
            format!("{}  the next boot would bring the approved state; {differences}", paint(GOOD, "BOOT"))
        }
        Verdict::Drift => {
            let unapproved = count(result.unapproved, "difference", "differences");
            let text = format!("the next boot would not bring the approved state: {unapproved} from it");
            format!("{}  {text}; {differences}", paint(BAD, "BOOT"))
        }
        Verdict::Unknown => {
            let text = "not all that the next boot would load could be looked at; the rest is approved";
            format!("{}  {text}; {differences}", paint(WARN, "BOOT"))
        }
    }
}

/// What a boot does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consequence {
    Lost,
    Comes,
    Changes,
}

fn consequence(change: &BootChange) -> Consequence {
    match change.change.kind {
        ChangeKind::Added => Consequence::Lost,
        ChangeKind::Removed => Consequence::Comes,
        ChangeKind::Modified | ChangeKind::Moved => Consequence::Changes,
    }
}

type Group = (&'static str, (Consequence, BootState, Approves));

/// Every combination that there is, the worst first.
const GROUPS: [Group; 9] = [
    (
        "at the next boot this host would lose (approved and live, never saved):",
        (Consequence::Lost, BootState::NotSaved, Approves::Live),
    ),
    (
        "at the next boot this host would lose (live only: neither approved nor saved):",
        (Consequence::Lost, BootState::NotSaved, Approves::Boot),
    ),
    (
        "at the next boot this host would lose (live only, and another form of it is approved):",
        (Consequence::Lost, BootState::NotSaved, Approves::Neither),
    ),
    (
        "at the next boot would come (saved but never loaded, and not approved):",
        (Consequence::Comes, BootState::NotLoaded, Approves::Live),
    ),
    (
        "at the next boot would come (saved but never loaded, and another form of it is approved):",
        (Consequence::Comes, BootState::NotLoaded, Approves::Neither),
    ),
    (
        "at the next boot would come back (approved, and missing now):",
        (Consequence::Comes, BootState::NotSaved, Approves::Boot),
    ),
    (
        "at the next boot would change, away from what is approved and live:",
        (Consequence::Changes, BootState::NotLoaded, Approves::Live),
    ),
    (
        "at the next boot would change back to what is approved (the live change was never saved):",
        (Consequence::Changes, BootState::NotSaved, Approves::Boot),
    ),
    (
        "at the next boot would change (neither the live form nor the saved one is approved):",
        (Consequence::Changes, BootState::BothChanged, Approves::Neither),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{options, plain, rule};

    #[test]
    fn every_difference_stands_under_a_heading_whatever_it_is() {
        let kinds = [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Modified, ChangeKind::Moved];
        for (number, kind) in kinds.into_iter().enumerate() {
            for approved in [Approves::Live, Approves::Boot, Approves::Neither] {
                let id = format!("{number:012}");
                let change = Change { id: id.clone(), ..rule(kind, Some("drop"), Some("accept")) };
                let changes = vec![BootChange { state: BootState::of(kind, approved), approved, change }];
                let (providers, gaps) = (vec![], vec![]);
                let result = BootResult { verdict: Verdict::Drift, changes, unapproved: 1, gaps, providers };
                let said = plain(&text(&result, &options(None)));
                assert!(said.contains("at the next boot") && said.contains(&id), "{kind:?} {approved:?}");
            }
        }
    }
}
