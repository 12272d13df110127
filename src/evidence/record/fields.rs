//! The `key=value` fields of which the kernel's records are made. Pure.

use super::ENRICHMENT;
use winnow::combinator::{alt, opt, terminated};
use winnow::prelude::*;
use winnow::token::{rest, take_until, take_while};

/// `key=value` pairs. The first of a key counts; quotes hold spaces and `=`.
pub(super) struct Fields<'a>(Vec<Pair<'a>>);

impl<'a> Fields<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let mut pairs = Vec::new();
        let mut input = text;
        while !input.is_empty() {
            match pair.parse_next(&mut input) {
                Ok(Some(found)) => pairs.push(found),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        Self(pairs)
    }

    /// All of them, in their order.
    pub(super) fn pairs(&self) -> &[Pair<'a>] {
        &self.0
    }

    /// The value as it stands in the record, with its quotes.
    pub(super) fn raw(&self, key: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(k, _)| *k == key.as_bytes()).map(|(_, v)| *v)
    }

    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        number(self.raw(key)?)
    }

    /// A text that the kernel quoted, or wrote as hexadecimal because it holds odd bytes
    /// (kernel/audit.c `audit_log_n_untrustedstring`); `(none)` and `(null)` are no text.
    pub(super) fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        match self.raw(key)? {
            b"(none)" | b"(null)" | b"" => None,
            plain if key == "tty" && !plain.starts_with(b"\"") => Some(plain.to_vec()),
            value => untrusted(value),
        }
    }

    /// An account's name that auditd added; its words for "no such account" are no name.
    pub(super) fn name(&self, key: &str) -> Option<String> {
        let name = String::from_utf8(self.bytes(key)?).ok()?;
        let real = !name.is_empty() && name != "unset" && !name.starts_with("unknown");
        real.then_some(name)
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// One pair and the separator after it; `None` for a word that is no pair.
fn pair<'a>(input: &mut &'a [u8]) -> ModalResult<Option<Pair<'a>>> {
    let word = |b: u8| b != b' ' && b != b'=' && b != ENRICHMENT;
    let _ = take_while(0.., [b' ', ENRICHMENT]).parse_next(input)?;
    let key = take_while(0.., word).parse_next(input)?;
    if opt(b'=').parse_next(input)?.is_none() {
        return Ok(None);
    }
    let quoted = (b'"', alt((terminated(take_until(0.., "\""), b'"'), rest))).take();
    let bare = take_while(0.., |b: u8| b != b' ' && b != ENRICHMENT);
    let value = alt((quoted, bare)).parse_next(input)?;
    Ok(Some((key, value)))
}

/// A text in quotes, or in hexadecimal.
pub(super) fn untrusted(value: &[u8]) -> Option<Vec<u8>> {
    match value {
        [b'"', text @ .., b'"'] => Some(text.to_vec()),
        [b'"', ..] => None,
        hex => unhex(hex),
    }
}

pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.chunks_exact(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}
