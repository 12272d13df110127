//! What an alert says: a first line that is enough at three in the morning, and the text that `record` prints.
//!
//! The line names who, what, since when, and the commands that approve it or put it back. It is one line of
//! visible characters whatever the kernel's texts hold.

use super::time::utc;
use super::wording::{clip, count, host, one_line, path};
use super::{Options, effects, escape, event, undo, who};
use crate::model::{Change, ChangeKind, Event, EventKind, Gap, ObjectKind, Source};

/// Characters of a rule, of a place or of a reason in the line.
const PIECE: usize = 160;
/// More kinds of changes than these are only counted.
const SORTS: usize = 3;
/// More ids than these are not typed by anybody.
const IDS: usize = 3;

/// What a person can run about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Shows the event in full.
    pub show: String,
    /// Approves what is new; none where nothing is.
    pub approve: Option<String>,
    /// Puts it back, step by step; text after a `#` is for people.
    pub undo: Vec<String>,
}

/// The commands for an event.
pub fn commands(event: &Event, options: &Options<'_>) -> Commands {
    let show = format!("{} show {}", options.program, event.seq);
    if event.kind != EventKind::Drift {
        return Commands { show, approve: None, undo: Vec::new() };
    }
    let ids: Vec<String> = event.changes.iter().map(|change| escape::terminal(&change.id)).collect();
    let approve = match ids.len() {
        1..=IDS => format!("{} approve {} -m \"…\"", options.program, ids.join(" ")),
        // It prints the command that approves what was reviewed.
        _ => format!("{} check", options.program),
    };
    let steps = undo::steps(&event.changes, event.netns.as_deref());
    let undo = steps.into_iter().map(|step| match (step.command.is_empty(), step.remark.is_empty()) {
        (true, _) => format!("# {}", step.remark),
        (false, true) => step.command,
        (false, false) => format!("{}  # {}", step.command, step.remark),
    });
    Commands { show, approve: Some(approve), undo: undo.collect() }
}

/// Who, what, since when, and what to run: one line.
pub fn headline(event: &Event, options: &Options<'_>) -> String {
    let host = host(&event.host, event.netns.as_deref());
    let who = match event.author.is_known() {
        true => who::name(&event.author),
        false => "an unknown author".to_owned(),
    };
    let when = match event.author.is_known() {
        true => format!("at {}", utc(event.time)),
        false => who::window(event.window),
    };
    let what = did(&event.changes);
    let traffic = effects::lead(&event.changes, PIECE);
    let text = only_text(&event.changes);
    let show = format!("{} show {}", options.program, event.seq);
    match event.kind {
        EventKind::Drift => {
            let Commands { approve, .. } = commands(event, options);
            let approve = approve.map(|approve| format!("approve: {approve}; ")).unwrap_or_default();
            let undo = shortest_undo(event, options);
            format!("{host}: {traffic}{who} {what} {when}{text} ({approve}undo: {undo})")
        }
        EventKind::Reverted => {
            let of = ended(&event.changes);
            format!("{host}: {who} put back {of} {when}{text} ({}; {show})", open(event))
        }
        EventKind::Applied => {
            let of = ended(&event.changes);
            format!(
                "{host}: {who} applied the approved baseline {when}, {of}{text} ({}; {show})",
                open(event)
            )
        }
        EventKind::Approved => {
            let of = ended(&event.changes);
            let reason = event.approval.as_ref().and_then(|approval| approval.reason.as_deref());
            let reason = reason.map(|reason| format!(", reason: {}", piece(&escape::terminal(reason))));
            let reason = reason.unwrap_or_default();
            format!("{host}: {who} approved {of} {when}{reason}{text} ({}; {show})", open(event))
        }
        EventKind::Transient if event.changes.is_empty() => {
            format!("{host}: {who} changed the firewall and changed it back {when} ({show})")
        }
        EventKind::Transient => format!("{host}: {traffic}{who} {what} {when} and undid it{text} ({show})"),
        EventKind::Gap => format!("{host}: fwdrift is blind {when}: {} ({show})", unseen(&event.gaps)),
        EventKind::Checkpoint => format!("{host}: fwdrift looked at the firewall, nothing new ({show})"),
    }
}

/// What `record` prints of the event: several lines without colours.
pub fn details(event: &Event, options: &Options<'_>) -> String {
    let text = event::text(event, &Options { width: None, ..*options });
    anstream::adapter::strip_str(&text).to_string()
}

/// `added 1 rule in inet filter input`, `added 2 rules and removed 1 chain in 2 places`.
fn did(changes: &[Change]) -> String {
    if let [one] = changes {
        return match one.object {
            ObjectKind::Rule | ObjectKind::Element => {
                format!("{} 1 {} in {}", one.kind.as_str(), one.object, place(one))
            }
            object => format!("{} {object} {}", one.kind.as_str(), place(one)),
        };
    }
    let mut sorts: Vec<((ChangeKind, ObjectKind), usize)> = Vec::new();
    for change in changes {
        let sort = (change.kind, change.object);
        match sorts.iter_mut().find(|(known, _)| *known == sort) {
            Some((_, n)) => *n += 1,
            None => sorts.push((sort, 1)),
        }
    }
    let what = match sorts.len() {
        1..=SORTS => {
            let words = sorts.iter().map(|((kind, object), n)| {
                format!("{} {}", kind.as_str(), count(*n, object.as_str(), &format!("{object}s")))
            });
            joined(&words.collect::<Vec<_>>())
        }
        _ => format!("made {}", count(changes.len(), "change", "changes")),
    };
    format!("{what} {}", places(changes))
}

/// `1 change in inet filter input`.
fn ended(changes: &[Change]) -> String {
    format!("{} {}", count(changes.len(), "change", "changes"), places(changes)).trim_end().to_owned()
}

fn places(changes: &[Change]) -> String {
    let mut places: Vec<String> = changes.iter().map(place).collect();
    places.sort_unstable();
    places.dedup();
    match places.as_slice() {
        [] => String::new(),
        [one] => format!("in {one}"),
        several => format!("in {}", count(several.len(), "place", "places")),
    }
}

fn place(change: &Change) -> String {
    let text = match (change.source, &change.name) {
        (Source::Ipset | Source::Sysctl | Source::Bpf, Some(name)) => escape::terminal(name),
        _ => path(change),
    };
    piece(&text)
}

/// `: + tcp dport 3306 drop`, where the only change has such a text.
fn only_text(changes: &[Change]) -> String {
    match changes {
        [one] => match one.object {
            ObjectKind::Rule | ObjectKind::Element | ObjectKind::Sysctl | ObjectKind::BpfProgram => {
                format!(": {}", piece(&one_line(one)))
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// A command that undoes it, if one or two do; else the one that says how.
fn shortest_undo(event: &Event, options: &Options<'_>) -> String {
    let steps = undo::steps(&event.changes, event.netns.as_deref());
    match steps.as_slice() {
        [only] | [_, only] if !only.command.is_empty() && !only.needs_file() => piece(&only.command),
        _ => format!("{} check", options.program),
    }
}

fn open(event: &Event) -> String {
    match event.open.len() {
        0 => "nothing is open now".to_owned(),
        n => format!("{} now", count(n, "difference is open", "differences are open")),
    }
}

fn unseen(gaps: &[Gap]) -> String {
    let Some(gap) = gaps.iter().find(|gap| gap.blinds_verdict).or(gaps.first()) else {
        return "for a reason that is not recorded".to_owned();
    };
    let more = match gaps.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let hint = gap.hint.as_deref().map(|hint| format!("; {}", piece(&escape::terminal(hint))));
    let (source, reason) = (escape::terminal(&gap.source), piece(&escape::terminal(&gap.reason)));
    format!("{source}: {reason}{more}{}", hint.unwrap_or_default())
}

fn joined(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

fn piece(text: &str) -> String {
    clip(text, Some(PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::*;

    fn line(event: &Event) -> String {
        headline(event, &options(None))
    }

    #[test]
    fn the_first_line_says_who_what_since_when_and_what_to_run() {
        let check = |kind, changes, expect: &str| assert_eq!(line(&entry(12, kind, changes).event), expect);
        check(
            EventKind::Drift,
            vec![added()],
            "web-01: ops1 as root added 1 rule in inet filter input at 2026-11-20T02:14:09Z: + tcp dport 3306 drop \
             (approve: fwdrift approve a1b2c3d4e5f6 -m \"…\"; undo: nft delete rule inet filter input handle N)",
        );
        check(
            EventKind::Reverted,
            vec![added()],
            "web-01: ops1 as root put back 1 change in inet filter input at 2026-11-20T02:14:09Z: + tcp dport 3306 \
             drop (nothing is open now; fwdrift show 12)",
        );
        check(
            EventKind::Transient,
            vec![],
            "web-01: ops1 as root changed the firewall and changed it back at 2026-11-20T02:14:09Z (fwdrift show 12)",
        );
        check(
            EventKind::Transient,
            vec![added()],
            "web-01: ops1 as root added 1 rule in inet filter input at 2026-11-20T02:14:09Z and undid it: \
             + tcp dport 3306 drop (fwdrift show 12)",
        );
    }

    #[test]
    fn several_changes_are_counted() {
        let mut other = added();
        other.chain = Some("forward".into());
        let changes = vec![added(), added(), rule(ChangeKind::Removed, Some("x"), None), other];
        assert_eq!(did(&changes), "added 3 rules and removed 1 rule in 2 places");
        let set = object(ObjectKind::Set, ChangeKind::Added, "bl", "set bl { }");
        assert_eq!(did(std::slice::from_ref(&set)), "added set inet filter, bl");
        let many = [
            added(),
            set,
            rule(ChangeKind::Removed, Some("x"), None),
            object(ObjectKind::Flowtable, ChangeKind::Added, "f", "x"),
        ];
        assert_eq!(did(&many), "made 4 changes in 3 places");
        let event = entry(3, EventKind::Drift, changes).event;
        assert!(line(&event).ends_with("(approve: fwdrift check; undo: fwdrift check)"), "{}", line(&event));
    }

    #[test]
    fn an_unknown_author_has_a_window() {
        let mut event = entry(3, EventKind::Drift, vec![added()]).event;
        event.author = nobody();
        let begin =
            "web-01: an unknown author added 1 rule in inet filter input between 2026-11-20T02:10:00Z and ";
        assert!(line(&event).starts_with(begin), "{}", line(&event));
    }

    #[test]
    fn a_gap_says_what_is_not_seen_and_why() {
        let mut event = entry(3, EventKind::Gap, vec![]).event;
        event.gaps = vec![gap(true)];
        event.author = nobody();
        let expect = ": iptables-legacy: iptables-legacy-save is not installed, and /proc/net/ip_tables_names \
                      lists: filter; install it with `apt-get install iptables` (fwdrift show 3)";
        assert!(line(&event).ends_with(expect), "{}", line(&event));
    }

    #[test]
    fn hostile_text_stays_on_one_visible_line() {
        let evil = "x\n\x1b[2J\u{202e}\0y".repeat(80);
        let mut change = rule(ChangeKind::Added, None, Some(&evil));
        (change.table, change.chain) = (evil.clone(), Some(evil.clone()));
        let mut event = entry(3, EventKind::Drift, vec![change]).event;
        (event.author.name, event.host) = (evil.clone(), evil);
        for kind in EventKind::ALL {
            event.kind = kind;
            let line = line(&event);
            assert_eq!(escape::terminal(&line), line);
        }
        assert!(!details(&event, &options(None)).contains('\x1b'));
    }
}
