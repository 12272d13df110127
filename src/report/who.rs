//! Who and when, in words. An author whom no evidence decides is `unknown`, with the window and the
//! candidates, and never more than that.

use super::escape::terminal;
use super::time::{Reference, apart, relative, utc};
use crate::model::{Author, Change, Evidence, Window};
use chrono::{DateTime, Utc};

/// The lines for an author and a time: the first says who and when, the others how it was done or who
/// may have done it.
pub(super) fn lines(
    author: &Author,
    time: Option<DateTime<Utc>>,
    reference: Option<Reference>,
) -> Vec<String> {
    let when = when(author, time, reference);
    [vec![format!("by {} {when}", name(author))], how(author)].concat()
}

/// The evidence for a known author, and what they ran; candidates for an unknown one.
pub(super) fn how(author: &Author) -> Vec<String> {
    if !author.is_known() {
        return candidates(author);
    }
    let whence = whence(author).map(|whence| format!(", {whence}")).unwrap_or_default();
    let mut lines = vec![format!("evidence: {}{whence}", author.evidence.as_str())];
    // A line of its own: it may be long and hold anything.
    lines.extend(ran(author).map(|ran| format!("ran: {ran}")));
    lines.extend(chain(author).map(|chain| format!("through: {chain}")));
    lines
}

/// The processes above it and its own, the outermost first; of a long chain the nearest.
pub(super) fn chain(author: &Author) -> Option<String> {
    const SHOWN: usize = 7;
    let left_out = author.parents.len().saturating_sub(SHOWN);
    let names = author.parents.get(left_out..).filter(|names| !names.is_empty())?;
    let names: Vec<String> = names.iter().map(|name| terminal(name)).collect();
    let more = if left_out > 0 { "… → " } else { "" };
    Some(format!("{more}{}", names.join(" → ")))
}

/// The account that called sudo, which only the process says.
pub(super) fn sudo(author: &Author) -> Option<String> {
    let caller = author.sudo_user.as_deref()?;
    Some(if caller == author.name {
        "via sudo".to_owned()
    } else {
        format!("via sudo, called by {}", terminal(caller))
    })
}

/// A container, by as much of its id as its tools show.
pub(super) fn container(author: &Author) -> Option<String> {
    const SHOWN: usize = 12;
    let name = author.container.as_deref()?;
    let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(terminal(if is_id { name.get(..SHOWN).unwrap_or(name) } else { name }))
}

/// `ops1`, `ops1 as root`, `dockerd.service`, `unknown`.
pub(super) fn name(author: &Author) -> String {
    if !author.is_known() {
        return Author::UNKNOWN.to_owned();
    }
    let name = terminal(&author.name);
    match (author.auid, author.uid) {
        (Some(login), Some(0)) if login != 0 => format!("{name} as root"),
        (Some(login), Some(uid)) if login != uid => format!("{name} as uid {uid}"),
        _ => name,
    }
}

/// `by ops1`, `by an unknown author`.
pub(super) fn by(author: &Author) -> String {
    if author.is_known() { format!("by {}", name(author)) } else { "by an unknown author".to_owned() }
}

/// What the evidence is worth, in a sentence's half.
pub(super) fn meaning(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Audit => "a kernel audit record of this very transaction",
        Evidence::Process => "the process that the kernel named, looked up while it ran",
        Evidence::AuditLog => "audit history; only one login changed the table then",
        Evidence::Git => "a commit in the repository",
        Evidence::None => "nothing decides it",
    }
}

/// Whether all the changes have one author and one time, so that it can be said once.
pub(super) fn same(changes: &[&Change]) -> bool {
    changes.windows(2).all(|pair| pair[0].author == pair[1].author && pair[0].time == pair[1].time)
}

/// `between A and B`, or `before B (nobody looked earlier)`.
pub(super) fn window(window: Window) -> String {
    match window.from {
        Some(from) => {
            let (from, to) = apart(from, window.to);
            format!("between {from} and {to}")
        }
        None => format!("before {} (no earlier look)", utc(window.to)),
    }
}

fn when(author: &Author, time: Option<DateTime<Utc>>, reference: Option<Reference>) -> String {
    match (time, author.window) {
        (Some(time), _) => format!("at {}", relative(time, reference)),
        (None, Some(span)) => window(span),
        (None, None) => "at a time that is not known".to_owned(),
    }
}

/// In which unit or container, how, on which terminal, from where.
fn whence(author: &Author) -> Option<String> {
    let parts: Vec<String> = [
        author.unit.as_deref().filter(|unit| *unit != author.name).map(|u| format!("unit {}", terminal(u))),
        container(author).map(|name| format!("in container {name}")),
        sudo(author),
        author.tty.as_deref().map(|tty| format!("on {}", terminal(tty))),
        author.remote.as_deref().map(|remote| format!("from {}", terminal(remote))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The command line, else the executable, else the process name.
fn ran(author: &Author) -> Option<String> {
    [&author.cmdline, &author.exe, &author.comm].into_iter().flatten().next().map(|ran| terminal(ran))
}

fn candidates(author: &Author) -> Vec<String> {
    author
        .candidates
        .iter()
        .map(|candidate| {
            // A candidate carries the evidence of its own record, or none: its name counts either way.
            let whence = whence(candidate).map(|whence| format!(", {whence}")).unwrap_or_default();
            let ran = ran(candidate).map(|ran| format!(", ran: {ran}")).unwrap_or_default();
            format!("candidate: {}{whence}{ran}", terminal(&candidate.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::ops1;

    #[track_caller]
    fn check(author: &Author, expected: &[&str]) {
        assert_eq!(how(author), expected);
    }

    #[test]
    fn how_it_was_done_is_told_in_three_lines() {
        let names = ["sshd", "bash", "sudo", "nft"].map(str::to_owned).to_vec();
        let author = Author {
            sudo_user: Some("ops1".into()),
            parents: names,
            evidence: Evidence::Audit,
            cmdline: Some("nft -f /etc/x".into()),
            ..ops1()
        };
        check(
            &author,
            &[
                "evidence: audit, via sudo, on pts0, from 10.0.0.9",
                "ran: nft -f /etc/x",
                "through: sshd → bash → sudo → nft",
            ],
        );
    }

    #[test]
    fn a_service_in_a_container_has_the_short_id() {
        let author = Author {
            name: "nft (no login)".into(),
            container: Some("4f3c2b1a0d9e8f7c6b5a4938271605f4e3d2c1b0a9f8e7d6c5b4a39281706f5e".into()),
            unit: Some("web.service".into()),
            exe: Some("/usr/sbin/nft".into()),
            evidence: Evidence::Process,
            ..Author::default()
        };
        check(
            &author,
            &["evidence: process, unit web.service, in container 4f3c2b1a0d9e", "ran: /usr/sbin/nft"],
        );
        check(
            &Author { container: Some("web".into()), unit: None, exe: None, ..author },
            &["evidence: process, in container web"],
        );
    }

    #[test]
    fn what_a_process_claims_is_shown_escaped_and_a_long_chain_by_its_end() {
        let author = Author {
            sudo_user: Some("eve\x1b[2J".into()),
            parents: (0..20).map(|n| format!("p{n}\n")).collect(),
            ..ops1()
        };
        let lines = how(&author);
        assert!(lines[0].contains("via sudo, called by eve\\x1b[2J, on pts0"), "{lines:?}");
        assert_eq!(lines[2], "through: … → p13\\n → p14\\n → p15\\n → p16\\n → p17\\n → p18\\n → p19\\n");
    }
}
