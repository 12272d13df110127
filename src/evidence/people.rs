//! Names of accounts.
//!
//! In: a uid. Out: the login name, from `/etc/passwd`, or the name service (`getent`, which knows directories such
//! as LDAP). Each uid is asked for once. A name that an enriched audit record brought along is
//! better still, as it was true at the time: `attribute` prefers it.

use crate::tool::Tool;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A directory service may be slow; the record must be written all the same.
const LIMIT: Duration = Duration::from_secs(5);
/// What follows events cannot wait as long.
const SHORT_LIMIT: Duration = Duration::from_millis(500);
/// When a service asks again for a name that it did not get.
const AGAIN: Duration = Duration::from_secs(300);
/// One line of passwd(5).
const BOUND: usize = 64 * 1024;

/// Looks up and remembers the names of accounts.
#[derive(Debug, Default)]
pub struct People {
    known: RefCell<HashMap<u32, (Option<String>, Instant)>>,
    is_in_a_hurry: bool,
}

impl People {
    /// Nobody is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`People::new`], for a service: a directory is not waited for long, as the change that was made may be what
    /// cut it off, and what was not found is asked for again later.
    pub fn in_a_hurry() -> Self {
        Self { is_in_a_hurry: true, ..Self::default() }
    }

    /// The login name of `uid`; `None` if no account has it, or the look-up failed.
    pub fn name(&self, uid: u32) -> Option<String> {
        if let Some((name, since)) = self.known.borrow().get(&uid)
            && (name.is_some() || !self.is_in_a_hurry || since.elapsed() < AGAIN)
        {
            return name.clone();
        }
        let limit = if self.is_in_a_hurry { SHORT_LIMIT } else { LIMIT };
        let name = from_passwd(uid).or_else(|| from_name_service(uid, limit));
        self.known.borrow_mut().insert(uid, (name.clone(), Instant::now()));
        name
    }

    /// The login name of `uid`, or `uid 1005`.
    pub fn display(&self, uid: u32) -> String {
        self.name(uid).unwrap_or_else(|| format!("uid {uid}"))
    }
}

fn from_name_service(uid: u32, limit: Duration) -> Option<String> {
    let getent = Tool::find("getent").ok()?.args(["passwd".to_owned(), uid.to_string()]);
    match getent.within(limit).output_limit(BOUND).run() {
        Ok(output) => named(&output.stdout, uid),
        Err(error) => {
            tracing::debug!(%error, uid, "looking up an account");
            None
        }
    }
}

fn from_passwd(uid: u32) -> Option<String> {
    named(&std::fs::read("/etc/passwd").ok()?, uid)
}

/// The name in the first line of passwd(5) with this uid.
fn named(passwd: &[u8], uid: u32) -> Option<String> {
    String::from_utf8_lossy(passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_their_names_and_others_their_number() {
        let people = People::new();
        for line in std::fs::read_to_string("/etc/passwd").unwrap().lines() {
            let fields: Vec<_> = line.split(':').collect();
            assert_eq!(people.name(fields[2].parse().unwrap()).as_deref(), Some(fields[0]));
        }
        assert_eq!(people.display(0), "root");
        assert_eq!(people.display(3_999_999_990), "uid 3999999990");
    }

    #[test]
    fn both_ways_know_root() {
        assert_eq!(from_name_service(0, LIMIT).as_deref(), Some("root"));
        assert_eq!(from_passwd(0).as_deref(), Some("root"));
    }

    #[test]
    fn a_line_that_is_no_account_is_passed_over() {
        assert_eq!(named(b"\n+\nx:y\n:x:5:\nops:x:5:5::/:/bin/sh\n", 5).as_deref(), Some("ops"));
    }
}
