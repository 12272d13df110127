//! Changes grouped by who made them: one group becomes one event of the ledger.

use super::Deed;
use crate::model::{Author, Change, Window};
use chrono::{DateTime, Utc};

/// Groups changes by author, in order of each author's first change. The same login in the same session is
/// one author, whatever its processes; a service is one by its executable and uid; all unknown ones with
/// the same candidates are one. In the group's author, a field in which its changes differ is `None`, and
/// `window` reaches from the first to the last.
pub fn by_author(changes: Vec<Change>) -> Vec<(Author, Vec<Change>)> {
    let mut groups: Vec<(Author, Vec<Change>)> = Vec::new();
    for change in changes {
        match groups.iter_mut().find(|(author, _)| is_same(author, &change.author)) {
            Some((author, group)) => {
                *author = merged(author, &change.author);
                group.push(change);
            }
            None => groups.push((change.author.clone(), vec![change])),
        }
    }
    groups
}

/// Transactions grouped by author, as [`by_author`] groups changes.
pub fn deeds_by_author<'d>(deeds: impl Iterator<Item = &'d Deed>) -> Vec<(Author, Vec<&'d Deed>)> {
    let mut groups: Vec<(Author, Vec<&Deed>)> = Vec::new();
    for deed in deeds {
        let made_by = &deed.witnessed.author;
        match groups.iter_mut().find(|(author, _)| is_same(author, made_by)) {
            Some((author, group)) => {
                *author = merged(author, made_by);
                group.push(deed);
            }
            None => groups.push((made_by.clone(), vec![deed])),
        }
    }
    groups
}

/// When a group was made: the last of its times; `None` if no time is known.
pub fn time_of(changes: &[Change]) -> Option<DateTime<Utc>> {
    changes.iter().filter_map(|change| change.time).max()
}

/// Whether two authors are one: the same login in the same session, or the same service.
pub fn is_same(a: &Author, b: &Author) -> bool {
    if a.evidence != b.evidence || a.name != b.name || a.auid != b.auid {
        return false;
    }
    match (a.is_known(), a.auid) {
        (false, _) => a.candidates == b.candidates,
        (true, Some(_)) => a.session == b.session,
        (true, None) => a.exe == b.exe && a.uid == b.uid && a.unit == b.unit && a.container == b.container,
    }
}

pub(super) fn merged(a: &Author, b: &Author) -> Author {
    fn agreed<T: PartialEq + Clone>(a: &Option<T>, b: &Option<T>) -> Option<T> {
        a.clone().filter(|value| b.as_ref() == Some(value))
    }
    Author {
        name: a.name.clone(),
        auid: a.auid,
        uid: agreed(&a.uid, &b.uid),
        session: a.session,
        tty: agreed(&a.tty, &b.tty),
        pid: agreed(&a.pid, &b.pid),
        comm: agreed(&a.comm, &b.comm),
        exe: agreed(&a.exe, &b.exe),
        cmdline: agreed(&a.cmdline, &b.cmdline),
        unit: agreed(&a.unit, &b.unit),
        remote: agreed(&a.remote, &b.remote),
        sudo_user: agreed(&a.sudo_user, &b.sudo_user),
        container: agreed(&a.container, &b.container),
        parents: if a.parents == b.parents { a.parents.clone() } else { Vec::new() },
        evidence: a.evidence,
        candidates: a.candidates.clone(),
        window: match (a.window, b.window) {
            (Some(a), Some(b)) => Some(Window { from: a.from.min(b.from), to: a.to.max(b.to) }),
            (one, other) => one.or(other),
        },
    }
}
