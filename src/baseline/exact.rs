//! Exact forms beside texts: which of them hold, and how they take the place of what their text loads to.
//!
//! An exact form holds as long as the text beside it is what it says; where a person changed the text, the text is
//! the truth. What a form says is nft's listing of it. Another release of nft may have other words for the same; then
//! both texts are loaded, and what they load to is listed by the one release that is here.

use super::compile::{CompileError, devices};
use super::layout::{Role, captured_text, loadable, read_exact, role, text_path};
use super::portable::portable;
use super::scanner::included_paths;
use crate::decode::{self, DecodeError};
use crate::model::{Capture, Digest, Files, Item, RawMessage, Ruleset, text_from_kernel};
use crate::netlink::Attrs;
use crate::netlink::nft::{msg, table};
use crate::normalise::normalise;
use crate::tool::{Tool, ToolError};
use std::collections::{BTreeMap, BTreeSet};

/// Exact forms, each with its own path, by the path of the text beside it.
pub type Forms = BTreeMap<String, (String, Capture)>;

/// The exact forms that hold.
pub fn forms(files: &Files) -> Result<Forms, CompileError> {
    let mut found = Forms::new();
    for (path, content) in files.iter().filter(|(path, _)| role(path) == Role::Exact) {
        let text_path = text_path(path);
        let Some(text) = files.get(&text_path).and_then(|content| captured_text(content)) else { continue };
        let capture = read_exact(content).ok_or_else(|| CompileError::Exact(path.clone()))?;
        let ruleset = normalise(&capture)?;
        // A set that no tool could show has a text that says nothing, and that another host says in other words.
        let is_mute = path.starts_with("ipset/") && text.lines().all(|line| line.starts_with('#'));
        if is_mute || is_text_of(text, &ruleset)? {
            found.insert(text_path, (path.clone(), capture));
        } else {
            tracing::debug!("{path} is void: {text_path} says something else");
        }
    }
    Ok(found)
}

/// Whether a text is what nft, of this or another release, says of a ruleset.
fn is_text_of(text: &str, ruleset: &Ruleset) -> Result<bool, CompileError> {
    let listing = listing_of(ruleset)?;
    if listing == text {
        return Ok(true);
    }
    // A text of ours includes nothing, and what it would include is not what it says.
    if !included_paths(text.as_bytes()).is_empty() {
        return Ok(false);
    }
    let (text, of_text) = with_marks(text);
    let (listing, of_listing) = with_marks(&listing);
    if of_text != of_listing {
        return Ok(false);
    }
    let Some(text) = listed_again(text, ruleset)? else { return Ok(false) };
    Ok(listed_again(listing, ruleset)? == Some(text))
}

/// The text that stands in the file beside an exact form.
fn listing_of(ruleset: &Ruleset) -> Result<String, DecodeError> {
    let items: BTreeSet<Item> = ruleset.tables.keys().map(|key| Item::Table(key.clone())).collect();
    let texts = decode::decode(ruleset, &items)?;
    let texts = texts.into_values().map(|text| portable(&loadable(&text.text)).into_owned());
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

/// How nft lists what it makes of a table's text; none if it does not take the text, or the table does not last.
fn listed_again(text: String, ruleset: &Ruleset) -> Result<Option<String>, CompileError> {
    let Some(head) = text.lines().find(|line| line.starts_with("table ")).map(str::to_owned) else {
        return Ok(None);
    };
    let named = Files::from([("nft/table.nft".to_owned(), text.clone().into_bytes())]);
    let netns = decode::scratch(&devices(&named, &ruleset.interfaces))?;
    let list = || -> Result<String, ToolError> {
        Tool::find("nft")?.scratch().args(["-f", "-"]).input(text.into_bytes()).run()?;
        let listed = Tool::find("nft")?.scratch().args(["-s", "list", "ruleset"]).run()?;
        Ok(text_from_kernel(&listed.stdout))
    };
    match netns.run(list)? {
        Ok(listed) => Ok(listed.lines().any(|line| line == head).then_some(listed)),
        Err(ToolError::Failed { .. }) => {
            decode::nft_works()?;
            Ok(None)
        }
        Err(error) => Err(CompileError::Tool(error)),
    }
}

/// The text with a comparison in place of each `xt match NAME` and `xt target NAME`, which nft prints and does not
/// read, and what was replaced, in its order. 1.1.3 prints the name in quotes, 1.0.6 does not.
fn with_marks(text: &str) -> (String, Vec<(&str, &str)>) {
    let (mut out, mut extensions) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find("xt ") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
        let kind = ["xt match ", "xt target "].into_iter().find(|kind| is_word && from.starts_with(kind));
        let Some(kind) = kind else {
            out.push_str("xt ");
            rest = &from["xt ".len()..];
            continue;
        };
        let name = &from[kind.len()..];
        let length = name.find([' ', '\n']).unwrap_or(name.len());
        let bare = name[..length].trim_matches('"');
        extensions.push((kind, bare));
        let number = Digest::of([kind.as_bytes(), bare.as_bytes()]).to_string();
        out.push_str(&format!("meta mark 0x{}", &number[..8]));
        rest = &name[length..];
    }
    out.push_str(rest);
    (out, extensions)
}

/// Takes the exact table in place of one of the same name.
pub fn substitute(capture: &mut Capture, exact: Capture) {
    let of_table = |message: &RawMessage| {
        // Every message but NEWTABLE has the table's name under the same number, 1.
        Attrs(&message.attrs).find(table::NAME).map(|name| (message.family, name.string().to_vec()))
    };
    let replaced: BTreeSet<_> =
        exact.messages.iter().filter(|m| m.kind == msg::NEWTABLE).filter_map(of_table).collect();
    capture.messages.retain(|message| !of_table(message).is_some_and(|table| replaced.contains(&table)));
    capture.messages.extend(exact.messages);
    capture.interfaces.extend(exact.interfaces);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_one_mark_whether_its_name_is_quoted_or_not_and_each_has_another() {
        let (plain, extensions) = with_marks("a xt match recent counter xt target LOG\nb");
        assert_eq!(extensions, [("xt match ", "recent"), ("xt target ", "LOG")]);
        let quoted = with_marks("a xt match \"recent\" counter xt target \"LOG\"\nb");
        assert_eq!(quoted, (plain.clone(), extensions));
        let words: Vec<&str> = plain.split([' ', '\n']).collect();
        let ["a", "meta", "mark", first, "counter", "meta", "mark", second, "b"] = words[..] else {
            panic!("{plain}")
        };
        assert!(first.starts_with("0x") && first != second, "{plain}");
        assert_ne!(with_marks("xt match a").0, with_marks("xt target a").0);
        for text in ["next xt ", "text xt other", "xt", "next match recent", "ext match recent"] {
            assert_eq!(with_marks(text), (text.to_owned(), Vec::new()));
        }
    }
}
