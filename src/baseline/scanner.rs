//! Finds the `include "PATH"` statements of an nft file. Pure.
//!
//! It must miss none: an include that is not found is read by nft from the host's file system. So it
//! follows nft's scanner (src/scanner.l): comments run from `#` to the end of the line, strings from
//! quote to quote over any bytes, `include` is a keyword wherever it is a word of its own, and between it
//! and its string there may be white space and continued lines.

use std::ops::Range;

/// The places of all included paths, without their quotes, in order.
pub fn included_paths(content: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut place = 0;
    while let Some(byte) = content.get(place) {
        match byte {
            b'#' => place += length_until(&content[place..], b'\n'),
            b'"' => place = after_string(content, place),
            _ if is_word(*byte) => {
                let end = place + content[place..].iter().take_while(|byte| is_word(**byte)).count();
                if &content[place..end] == b"include" {
                    let start = after_blanks(content, end);
                    if content.get(start) == Some(&b'"') {
                        let close = after_string(content, start);
                        found.push(start + 1..close.saturating_sub(1).max(start + 1));
                        place = close;
                        continue;
                    }
                }
                place = end;
            }
            _ => place += 1,
        }
    }
    found
}

/// Characters of nft's `string` token, of which a keyword is one.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./".contains(&byte)
}

fn length_until(bytes: &[u8], end: u8) -> usize {
    bytes.iter().position(|byte| *byte == end).unwrap_or(bytes.len())
}

/// The place after the string that begins here; the end of the file if it is not closed.
fn after_string(content: &[u8], quote: usize) -> usize {
    let inner = &content[quote + 1..];
    (quote + 1 + length_until(inner, b'"') + 1).min(content.len())
}

fn after_blanks(content: &[u8], mut place: usize) -> usize {
    loop {
        match &content[place..] {
            [b' ' | b'\t', ..] => place += 1,
            [b'\\', b'\n', ..] => place += 2,
            _ => return place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &[&str]) {
        let found: Vec<&str> =
            included_paths(text.as_bytes()).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn an_include_is_found_wherever_a_statement_may_stand() {
        check("include \"a\"\n", &["a"]);
        check("  include \"a/b.nft\"; # include \"c\"\n", &["a/b.nft"]);
        check("define x = 1; include \"/abs/f\"\n", &["/abs/f"]);
        check("table t { chain c { include \"x\"; }; include\t\"y\" }", &["x", "y"]);
        check("include\\\n \"z\"\n", &["z"]);
        check("include\"tight\"", &["tight"]);
    }

    #[test]
    fn a_comment_a_string_and_a_longer_word_are_no_include() {
        check("# include \"a\"\n", &[]);
        check("add rule t c log prefix \"include \" accept comment \"x\"\n", &[]);
        check("included \"a\"\nmy-include \"b\"\n", &[]);
        check("comment \"#\" \ninclude \"a\"", &["a"]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for range in included_paths(&[b"include \"", &bytes[..]].concat()) {
                prop_assert!(range.start <= range.end);
            }
        }
    }
}
