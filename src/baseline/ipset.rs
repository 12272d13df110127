//! Sets of ipset as files of a baseline, and their loading into the scratch namespace.

use super::compile::{CompileError, refusal};
use super::layout::{Role, role};
use crate::decode;
use crate::model::{Capture, Files};
use crate::netlink::Malformed;
use crate::normalise::ipset;
use crate::tool::{Tool, ToolError};
use std::collections::BTreeMap;

/// Loads all sets in the calling thread's namespace: those with an exact form over netlink, the others with the
/// tool. Sets of sets come last: they name others. `exact` is by the path of the text.
pub fn load(files: &Files, exact: &BTreeMap<String, (String, Capture)>) -> Result<(), CompileError> {
    make(exact, false)?;
    let texts = files.iter().filter(|(path, content)| role(path) == Role::Ipset && says_something(content));
    restore(texts.filter(|(path, _)| !exact.contains_key(*path)))?;
    make(exact, true)
}

fn make(exact: &BTreeMap<String, (String, Capture)>, lists: bool) -> Result<(), CompileError> {
    for (path, capture) in exact.values() {
        let Some(messages) = &capture.ipset else { continue };
        let damaged = |Malformed| CompileError::Exact(path.clone());
        let sets = ipset::table(messages).map_err(damaged)?.sets;
        for (name, set) in sets.iter().filter(|(_, set)| ipset::is_list(set) == lists) {
            decode::make_set(name, set)?;
        }
    }
    Ok(())
}

/// One run for all files: a tool that starts a thousand times is slow.
fn restore<'f>(files: impl Iterator<Item = (&'f String, &'f Vec<u8>)>) -> Result<(), CompileError> {
    let (lists, others): (Vec<_>, Vec<_>) = files.partition(|(_, content)| makes_list(content));
    let mut input = Vec::new();
    let mut starts = Vec::new();
    let mut line = 1;
    for (path, content) in others.into_iter().chain(lists) {
        starts.push((line, path.as_str()));
        input.extend_from_slice(content);
        if !content.ends_with(b"\n") {
            input.push(b'\n');
        }
        line += content.split_inclusive(|byte| *byte == b'\n').count();
    }
    if starts.is_empty() {
        return Ok(());
    }
    let tool = Tool::find("ipset").map_err(CompileError::Tool)?.scratch();
    match tool.args(["restore"]).input(input).run() {
        Ok(_) => Ok(()),
        Err(ToolError::Failed { stderr, .. }) => {
            let (path, message) = located(&stderr, &starts);
            Err(refusal(path, &message))
        }
        Err(error) => Err(CompileError::Tool(error)),
    }
}

/// Whether a file is more than comments: a host without sets needs no `ipset`.
fn says_something(content: &[u8]) -> bool {
    let mut lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// Whether a file makes a set of sets.
fn makes_list(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').any(|line| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.next() == Some(b"create") && words.any(|word| word == b"list:set")
    })
}

/// The file that the tool's message is about, and the message with that file's line number.
fn located<'f>(stderr: &str, starts: &[(usize, &'f str)]) -> (&'f str, String) {
    const WORDS: &str = "Error in line ";
    let first = starts.first().map_or("", |(_, path)| path);
    let Some((before, after)) = stderr.split_once(WORDS) else { return (first, stderr.to_owned()) };
    let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let line: usize = after[..digits].parse().unwrap_or(1);
    match starts.iter().rev().find(|(start, _)| *start <= line) {
        Some((start, path)) => (path, format!("{before}{WORDS}{}{}", line - start + 1, &after[digits..])),
        None => (first, stderr.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_file_and_its_own_line() {
        let starts = [(1, "ipset/a.ipset"), (4, "ipset/b.ipset")];
        let check = |stderr: &str, path: &str, message: &str| {
            assert_eq!(located(stderr, &starts), (path, message.to_owned()));
        };
        check("ipset v7: Error in line 5: Syntax", "ipset/b.ipset", "ipset v7: Error in line 2: Syntax");
        check("ipset v7: Error in line 3: x", "ipset/a.ipset", "ipset v7: Error in line 3: x");
        check("cannot", "ipset/a.ipset", "cannot");
    }

    #[test]
    fn a_file_with_a_set_of_sets_is_known_by_its_create_line() {
        assert!(makes_list(b"create a hash:ip\ncreate b list:set size 8\n"));
        assert!(!makes_list(b"create a hash:ip comment\nadd a 192.0.2.1 comment \"list:set\"\n"));
    }
}
