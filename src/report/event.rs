//! What `record` prints when it has written an event: cron mails it, so its first line says it all.

use super::changes::{Detail, blocks};
use super::log::kind_style;
use super::style::{DIM, paint};
use super::time::{Reference, duration, utc};
use super::undo::Step;
use super::wording::{clip, count, host, one_line, path};
use super::{Options, check, effects, escape, gaps, who, wording};
use crate::model::{Event, EventKind};

/// Characters of a rule in a subject; the details have all of it.
const SUBJECT_RULE: usize = 120;

/// The subject of a mail: plain, one line, whatever the event holds.
pub fn subject(event: &Event) -> String {
    let host = host(&event.host, event.netns.as_deref());
    let by = who::by(&event.author);
    let n = event.changes.len();
    let changes = match event.changes.as_slice() {
        [one] => format!("{} in {}", clip(&one_line(one), Some(SUBJECT_RULE)), path(one)),
        _ => count(n, "change", "changes"),
    };
    match event.kind {
        EventKind::Drift => {
            let traffic = effects::short_lead(&event.changes);
            format!("{host}: {traffic}firewall changed {by}: {changes}")
        }
        EventKind::Reverted => format!("{host}: firewall drift reverted {by}: {changes}"),
        EventKind::Applied => format!("{host}: approved baseline applied {by}: {changes}"),
        EventKind::Transient => format!("{host}: firewall changed and changed back {by}"),
        EventKind::Approved => format!("{host}: firewall drift approved {by}: {changes}"),
        EventKind::Gap => format!("{host}: fwdrift could not see the firewall for a time"),
        EventKind::Checkpoint => format!("{host}: {}", wording::checkpoint(event)),
    }
}

/// Subject, when, details, what is still open, what to do next.
pub fn text(event: &Event, options: &Options<'_>) -> String {
    let mut out = format!("{}\n", paint(kind_style(event.kind), subject(event)));
    out.push_str(&format!("{}\n", when(event)));
    if wording::ends(event.kind) && event.approval.is_none() {
        // The changes below bear the names of those who made them.
        for line in who::how(&event.author) {
            out.push_str(&format!("{}\n", paint(DIM, line)));
        }
    }
    if let Some(approval) = &event.approval {
        let ticket = approval.ticket.as_deref().map(|t| format!(", ticket {}", escape::terminal(t)));
        let reason = approval.reason.as_deref().map(|r| format!(": {}", escape::terminal(r)));
        let approver = escape::terminal(&approval.approver);
        out.push_str(&format!(
            "approved by {approver}{}{}\n",
            ticket.unwrap_or_default(),
            reason.unwrap_or_default()
        ));
    }
    if !event.changes.is_empty() {
        out.push_str(&wording::ended_heading(event.kind));
        let reference = Reference { time: event.recorded_at, name: "this entry" };
        let whole = format!("{} show {}", options.program, event.seq);
        let detail = Detail { reference: Some(reference), whole: &whole, ..Detail::BRIEF };
        out.push_str(&blocks(&event.changes, detail));
    }
    out.push_str(&gaps::block(&event.gaps, options));
    let open = match event.open.len() {
        0 => "nothing is open now".to_owned(),
        n => format!("{} now", count(n, "difference is open", "differences are open")),
    };
    let seq = event.seq;
    out.push_str(&format!("\nevent {seq}, {open}; in full: {} show {seq}\n", options.program));
    if event.kind == EventKind::Drift {
        let accept = Step {
            command: format!("{} check", options.program),
            remark: "prints the approve command for what is live then".to_owned(),
        };
        let netns = event.netns.as_deref();
        out.push_str(&check::next(accept, &event.changes, &event.baseline, netns, options));
    }
    out
}

fn when(event: &Event) -> String {
    let late = duration(event.recorded_at - event.time);
    let recorded = utc(event.recorded_at);
    if !event.author.is_known() {
        return format!("{}; recorded {recorded}", who::window(event.window));
    }
    format!("at {}; recorded {recorded}, {late} later", utc(event.time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChangeKind;
    use crate::report::fixture::*;

    #[test]
    fn a_subject_is_one_plain_line() {
        let check = |event: &Event, expect: &str| assert_eq!(subject(event), expect);
        let mut one = entry(1, EventKind::Drift, vec![added()]).event;
        check(&one, "web-01: firewall changed by ops1 as root: + tcp dport 3306 drop in inet filter input");
        one.author = nobody();
        one.changes.push(rule(ChangeKind::Removed, Some("a\nb"), None));
        check(&one, "web-01: firewall changed by an unknown author: 2 changes");
        one.host = "web\n\x1b[31m".to_owned();
        one.kind = EventKind::Transient;
        check(&one, "web\\n\\x1b[31m: firewall changed and changed back by an unknown author");
    }

    #[test]
    fn a_mail_says_who_what_since_when_and_what_to_do() {
        let event = entry(7, EventKind::Drift, vec![added()]).event;
        let expect = "\
web-01: firewall changed by ops1 as root: + tcp dport 3306 drop in inet filter input
at 2026-11-20T02:14:09Z; recorded 2026-11-20T02:15:00Z, 51 s later

table inet filter
  chain input
    + tcp dport 3306 drop
      by ops1 as root at 2026-11-20T02:14:09Z (51 s before this entry)
      evidence: audit-log, on pts0, from 10.0.0.9
      ran: nft insert rule inet filter input tcp dport 3306 drop
      rule 4, id a1b2c3d4e5f6

event 7, 1 difference is open now; in full: fwdrift show 7

next
  accept it
    fwdrift check  # prints the approve command for what is live then
  or put it back
    nft -a list chain inet filter input         # N: the rule's handle
    nft delete rule inet filter input handle N  # a + rule
";
        assert_eq!(plain(&text(&event, &options(Some(80)))), expect);
    }

    #[test]
    fn an_unknown_author_has_a_window_instead_of_a_time() {
        let mut event = entry(3, EventKind::Reverted, vec![added()]).event;
        event.author = nobody();
        let text = plain(&text(&event, &options(None)));
        let second = text.lines().nth(1);
        let expect = "between 2026-11-20T02:10:00Z and 2026-11-20T02:15:00Z; recorded 2026-11-20T02:15:00Z";
        assert_eq!(second, Some(expect));
        assert!(
            text.contains("\nended, of what differed from the baseline:\n\ntable inet filter\n"),
            "{text}"
        );
        assert!(text.ends_with("event 3, nothing is open now; in full: fwdrift show 3\n"), "{text}");
    }
}
