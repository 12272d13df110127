//! Hostile text on its way into commit headers and messages.
//!
//! Role: makes text harmless for a terminal that shows `git log` or `git show`. Pure.

/// Whether a terminal shows this character as itself: no control, format (bidirectional, zero-width)
/// or private character.
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() || c == ' ' || (!c.is_ascii() && c.is_alphanumeric())
}

/// One line: what is not plain becomes `\u{…}`, white space becomes one space.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' => line.push(' '),
            c if is_plain(c) => line.push(c),
            c => line.extend(c.escape_unicode()),
        }
    }
    line.trim().to_owned()
}

/// Several lines, each made plain as in [`one_line`] but with its indentation; no blank lines at the ends.
pub(super) fn paragraphs(text: &str) -> String {
    let plain = |line: &str| {
        let indent: String = line.chars().take_while(|c| *c == ' ' || *c == '\t').collect();
        format!("{indent}{}", one_line(line)).trim_end().to_owned()
    };
    let lines: Vec<String> = text.lines().map(plain).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The columns that a terminal needs at most: letters outside ASCII may be wide.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// `text`, cut to `limit` columns with `...` at the end where it was longer.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if columns(&kept) + 3 > limit {
            kept.pop();
            break;
        }
    }
    kept.push_str("...");
    kept
}

/// A person's or service's name for a commit header: one line without `<` and `>`.
pub(super) fn header_name(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if is_plain(c) && c != '<' && c != '>' { c } else { '?' }).take(100).collect();
    // Git drops these at both ends ("crud"), and a name of nothing else is no name (ident.c).
    let is_crud = |c: char| c <= ' ' || ".,:;<>\"\\'".contains(c);
    plain.trim_matches(is_crud).to_owned()
}

/// The part of a mail address before or after `@`: anything unusual becomes `-`.
pub(super) fn header_local(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' })
        .take(100)
        .collect();
    plain.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidirectional_marks_become_visible() {
        assert_eq!(one_line("a\x1b[31mb\nc\u{202e}\u{9b}"), "a\\u{1b}[31mb c\\u{202e}\\u{9b}");
        assert_eq!(one_line("Jos\u{e9}"), "Jos\u{e9}");
    }

    #[test]
    fn a_cut_text_never_exceeds_its_columns() {
        for limit in 3..20 {
            assert!(columns(&cut("inet filter input \u{6f22}\u{5b57} rule", limit)) <= limit);
        }
        assert_eq!(cut("short", 5), "short");
    }

    #[test]
    fn names_of_nothing_but_crud_come_out_empty() {
        assert_eq!(header_name(" .,<>\"' "), "?".repeat(2));
        assert_eq!(header_name("..."), "");
        assert_eq!(header_name("a<b>\nc"), "a?b??c");
        assert_eq!(header_local("ops team\n<x>"), "ops-team--x");
    }
}
