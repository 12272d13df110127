//! The way back for sets of ipset.
//!
//! Unlike nft, ipset takes its arguments one by one and parses no script out of them. So names and members may stand in
//! a command, each as one word for the shell; one that cannot be shown as it is, or reads as an option, may not.

use super::{Step, step};
use crate::model::{Change, ChangeKind, ObjectKind};
use crate::report::escape::shell_word;

const UNTYPABLE: &str = "a name or member here cannot be typed as shown: see ipset save";

/// The commands for one change.
pub(super) fn way(change: &Change) -> Vec<Step> {
    let spelled = match change.object {
        ObjectKind::Element => member(change),
        _ => set(change),
    };
    spelled.unwrap_or_else(|| vec![step(String::new(), UNTYPABLE)])
}

/// Members: `add NAME MEMBER …` as `ipset save` prints it.
fn member(change: &Change) -> Option<Vec<Step>> {
    let line = |text: &Option<String>| text.as_deref().and_then(words);
    let approved = || {
        let words = line(&change.before)?;
        let flags = if change.kind == ChangeKind::Modified { " -exist" } else { "" };
        Some(step(format!("ipset{flags} {}", shell_words(&words)?), "the approved member"))
    };
    match change.kind {
        ChangeKind::Removed | ChangeKind::Modified => Some(vec![approved()?]),
        ChangeKind::Added => {
            let words = line(&change.after)?;
            let [name, member] = words.get(1..3)? else { return None };
            let command = format!("ipset del {} {}", shell_word(name)?, shell_word(member)?);
            Some(vec![step(command, "the member that is not approved")])
        }
        ChangeKind::Moved => None,
    }
}

fn set(change: &Change) -> Option<Vec<Step>> {
    let name = shell_word(change.name.as_deref()?)?;
    match change.kind {
        ChangeKind::Added => {
            Some(vec![step(format!("ipset destroy {name}"), "refused while a rule or a list uses it")])
        }
        ChangeKind::Removed => Some(vec![step(
            "ipset restore -file FILE".to_owned(),
            "FILE: the approved set; its file is under ipset/",
        )]),
        ChangeKind::Modified | ChangeKind::Moved => Some(vec![
            step(
                "ipset restore -file FILE".to_owned(),
                "FILE: the approved set, under another NAME in its file",
            ),
            step(format!("ipset swap NAME {name}"), "refused if the type is another one"),
            step("ipset destroy NAME".to_owned(), "what was live"),
        ]),
    }
}

/// The words of a line: separated by blanks, some in double quotes, as ipset's own restore reads them.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(' ').map_or((rest, ""), |(word, _)| (word, &rest[word.len()..])),
        };
        words.push(word.to_owned());
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    // What a text shows as an escape is not what it stands for.
    (words.first().is_some_and(|word| word == "add") && !line.contains("\\x")).then_some(words)
}

fn shell_words(words: &[String]) -> Option<String> {
    let words: Option<Vec<String>> = words.iter().map(|word| shell_word(word)).collect();
    Some(words?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_becomes_quoted_words_or_none() {
        let check = |line: &str, expect: Option<&str>| {
            let found = words(line).and_then(|words| shell_words(&words));
            assert_eq!(found.as_deref(), expect, "{line}");
        };
        check("add bl 192.0.2.1", Some("add bl 192.0.2.1"));
        check("add \"a b\" 10.0.0.0/8 nomatch", Some("add 'a b' 10.0.0.0/8 nomatch"));
        check("add bl 1 comment \"it's $(reboot); `x`\"", Some(r"add bl 1 comment 'it'\''s $(reboot); `x`'"));
        check("add bl 1 comment \"-file /etc/x\"", None);
        check("add bl 1 comment \"\u{202e}\"", None);
        check("add \"n\\x0a\" 1", None);
        check("destroy bl", None);
        check("add bl \"open", None);
    }
}
