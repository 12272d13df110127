//! Hostile text made safe to show: in a terminal, in Markdown, in a shell command.
//!
//! Rule comments, chain names and process names are bytes that anyone may have chosen. Input: such a
//! text; output: one that cannot move the cursor, hide or reorder what is read, fake a line of our own,
//! or become HTML. A backslash stays as it is, since rules hold them; `\x1b` may thus be either an
//! escape or four characters: both are harmless.

/// One line: control, invisible and reordering characters become visible escapes (`\x1b`, `\n`,
/// `\u{202e}`).
pub fn terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut out, c);
    }
    out
}

/// As [`terminal`], but line breaks stay and tabs that indent a line become four spaces each. A break
/// may be an attacker's: show the lines with a gutter (`+ `) only, so that none can look like a heading.
pub fn multi_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut indenting = true;
    for c in text.chars() {
        match c {
            '\n' => {
                out.push('\n');
                indenting = true;
            }
            '\t' if indenting => out.push_str("    "),
            other => {
                indenting &= other == ' ';
                push_visible(&mut out, other);
            }
        }
    }
    out
}

/// Markdown text outside of code, for table cells too: every character with a meaning in Markdown or
/// HTML is disarmed, and so are the automatic links of forges.
pub fn markdown(text: &str) -> String {
    let safe = terminal(text);
    let mut out = String::with_capacity(safe.len());
    for (at, c) in safe.char_indices() {
        let links = match c {
            ':' => safe[at + 1..].starts_with('/'),
            '.' => safe.get(at.wrapping_sub(3)..at).is_some_and(|w| w.eq_ignore_ascii_case("www")),
            _ => false,
        };
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' => out.push_str("&#124;"),
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            ':' | '.' if links => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A Markdown code span with a delimiter that the text cannot close. Not for table cells.
pub fn markdown_span(text: &str) -> String {
    let safe = terminal(text);
    if safe.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let fence = "`".repeat(longest_run(&safe) + 1);
    let edge = |c: Option<char>| matches!(c, Some('`' | ' '));
    let pad = if edge(safe.chars().next()) || edge(safe.chars().next_back()) { " " } else { "" };
    format!("{fence}{pad}{safe}{pad}{fence}")
}

/// A fenced Markdown block, its lines already gathered, with a fence that the text cannot close.
/// `language` is our own word (`diff`).
pub fn markdown_fence(text: &str, language: &str) -> String {
    let safe = multi_line(text);
    let fence = "`".repeat(longest_run(&safe).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", safe.trim_end_matches('\n'))
}

/// Text for XML, within an element or in an attribute in double quotes. Characters that XML 1.0 does not allow become
/// visible escapes, as all that [`terminal`] shows.
pub fn xml(text: &str) -> String {
    let safe = terminal(text);
    let mut out = String::with_capacity(safe.len());
    for c in safe.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

/// A JSON document, the same value, in which no string holds a character that a terminal would act on or
/// a reader could not see: a serialiser escapes only those below U+0020.
pub fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        if c != '\n' && (c.is_control() || is_deceptive(c)) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// One word for a POSIX shell, quoted where needed; `None` if it holds a character that cannot be
/// shown as it is, so that a command would not mean what it seems to, or if it would read as an option.
/// Not for names in an nft command: nft joins its arguments and parses them as a script.
pub fn shell_word(word: &str) -> Option<String> {
    if terminal(word) != word || word.starts_with('-') {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Some(word.to_owned());
    }
    Some(format!("'{}'", word.replace('\'', r"'\''")))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if is_deceptive(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// Characters that are invisible, reorder their neighbours or look like a plain space: Unicode's
/// general category Cf, `Default_Ignorable_Code_Point`, line and paragraph separators, spaces other
/// than U+0020 and U+3000, and non-characters (Unicode 16, DerivedCoreProperties.txt).
fn is_deceptive(c: char) -> bool {
    let code = u32::from(c);
    matches!(code,
        0x00a0 | 0x00ad | 0x034f | 0x0600..=0x0605 | 0x061c | 0x06dd | 0x070f | 0x0890..=0x0891 | 0x08e2
        | 0x115f..=0x1160 | 0x1680 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x2000..=0x200f
        | 0x2028..=0x202f | 0x205f..=0x206f | 0x2800 | 0x3164 | 0xfdd0..=0xfdef | 0xfe00..=0xfe0f
        | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3
        | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
        || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_control_character() {
        let check = |input: &str, expect: &str| assert_eq!(terminal(input), expect);
        check("tcp dport 22 accept", "tcp dport 22 accept");
        check("\x1b[2Jx", "\\x1b[2Jx");
        check("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\x00");
        check("\u{9b}31m\u{7f}", "\\x9b31m\\x7f");
        check("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{feff}");
        check("\u{e0041}\u{ffff}\u{1fffe}", "\\u{e0041}\\u{ffff}\\u{1fffe}");
        check("Zürich 東京 €", "Zürich 東京 €");
    }

    #[test]
    fn indentation_stays_and_other_tabs_show() {
        assert_eq!(multi_line("a {\n\t\tb\tc\x1b\n}"), "a {\n        b\\tc\\x1b\n}");
    }

    #[test]
    fn markdown_text_is_inert() {
        let check = |input: &str, expect: &str| assert_eq!(markdown(input), expect);
        check("<script>&", "&lt;script&gt;&amp;");
        check("a|b*c_d[e](f)`g`", "a&#124;b\\*c\\_d\\[e\\]\\(f\\)\\`g\\`");
        check("http://x www.y ops@z \\", "http\\://x www\\.y ops&#64;z \\\\");
        check("x\n# Heading", "x\\\\n\\# Heading");
        check("€€www", "€€www");
    }

    #[test]
    fn code_cannot_be_closed_from_within() {
        assert_eq!(markdown_span("a"), "`a`");
        assert_eq!(markdown_span("a``b"), "```a``b```");
        assert_eq!(markdown_span("`a"), "`` `a ``");
        assert_eq!(markdown_fence("x\n````\n<b>", "diff"), "`````diff\nx\n````\n<b>\n`````\n");
    }

    #[test]
    fn json_keeps_its_value_and_shows_everything() {
        let value = serde_json::json!({ "a": "\u{9b}m\u{202e}\u{e0041}\x1b\n é" });
        let text = json(&value.to_string());
        assert_eq!(text, r#"{"a":"\u009bm\u202e\udb40\udc41\u001b\n é"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn xml_is_neither_left_nor_made_invalid() {
        let check = |input: &str, expect: &str| assert_eq!(xml(input), expect);
        check(
            "]]></failure><a b=\"c\" d='e'>&",
            "]]&gt;&lt;/failure&gt;&lt;a b=&quot;c&quot; d=&apos;e&apos;&gt;&amp;",
        );
        check("a\0\x1b[2J\n\u{fffe}\u{ffff}é", "a\\x00\\x1b[2J\\n\\u{fffe}\\u{ffff}é");
    }

    #[test]
    fn a_shell_word_is_one_word_or_none() {
        let check = |input: &str, expect: Option<&str>| assert_eq!(shell_word(input).as_deref(), expect);
        check("inet", Some("inet"));
        check("a b;$(reboot)", Some("'a b;$(reboot)'"));
        check("it's", Some(r"'it'\''s'"));
        check("", Some("''"));
        check("a\nb", None);
        check("--output=/etc/passwd", None);
    }
}
