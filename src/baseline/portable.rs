//! A table's text in words that every release of nft reads. Pure.
//!
//! A newer release has words that an older one refuses as a whole file: a baseline would not load after a
//! downgrade, or on the next host. Each of these words stands for a number, which all releases read. The list is of
//! what differs between 1.0.6 and 1.1.3 on the test data; `render` proves the text by loading it.

use std::borrow::Cow;

/// The text of a captured table, or of a rule, with numbers for words that only some releases know.
pub fn portable(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    let mut taken = 0;
    for line in text.split_inclusive('\n') {
        let plain = line.trim_start_matches('\t');
        let new = if plain.starts_with("type ") {
            with_number_of_priority(line)
        } else if plain.starts_with("policy = { ") {
            with_seconds(line)
        } else {
            with_numbers_of_subtypes(line)
        };
        if let Some(new) = new {
            out.push_str(&text[text.len() - rest.len()..taken]);
            out.push_str(&new);
            rest = &text[taken + line.len()..];
        }
        taken += line.len();
    }
    if out.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(out + rest) }
}

/// `type nat hook output priority dstnat;`. To 1.0.6 `dstnat` is for the prerouting hook alone and `srcnat` for the
/// postrouting hook; to 1.1.3 they stand for output and input, too (nftables/src/rule.c,
/// `std_prio_family_hook_compat`). In bridge tables both have other numbers, and no release uses them at these hooks.
fn with_number_of_priority(line: &str) -> Option<String> {
    let (head, rest) = line.split_once(" priority ")?;
    let (expression, tail) = rest.split_once(';')?;
    let hook = head.split_once(" hook ")?.1.split(' ').next()?;
    let mut words = expression.split(' ');
    let base: i64 = match (words.next()?, hook) {
        ("dstnat", "output") => -100,
        ("srcnat", "input") => 100,
        _ => return None,
    };
    let offset: i64 = match (words.next(), words.next()) {
        (None, None) => 0,
        (Some("+"), Some(number)) => number.parse().ok()?,
        (Some("-"), Some(number)) => -number.parse::<i64>().ok()?,
        _ => return None,
    };
    Some(format!("{head} priority {};{tail}", base + offset))
}

/// `policy = { established : 2m, close : 12s }` of a `ct timeout` object. 1.0.6 reads only seconds.
fn with_seconds(line: &str) -> Option<String> {
    let (head, rest) = line.split_once("{ ")?;
    let (states, tail) = rest.split_once(" }")?;
    let pair = |pair: &str| {
        let (state, time) = pair.split_once(" : ")?;
        Some(format!("{state} : {}", seconds(time)?))
    };
    let states: Vec<String> = states.split(", ").map(pair).collect::<Option<_>>()?;
    let new = format!("{head}{{ {} }}{tail}", states.join(", "));
    (new != line).then_some(new)
}

/// `1d2h3m4s`, or seconds.
fn seconds(time: &str) -> Option<u64> {
    let mut sum = 0_u64;
    let mut digits = String::new();
    for character in time.chars() {
        let unit = match character {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            digit => {
                digits.push(digit);
                continue;
            }
        };
        sum = sum.checked_add(std::mem::take(&mut digits).parse::<u64>().ok()?.checked_mul(unit)?)?;
    }
    if digits.is_empty() { Some(sum) } else { sum.checked_add(digits.parse().ok()?) }
}

/// RFC 8684, 8 (MPTCP option subtypes), in their order.
const SUBTYPES: [&str; 9] = [
    "mp-capable",
    "mp-join",
    "dss",
    "add-addr",
    "remove-addr",
    "mp-prio",
    "mp-fail",
    "mp-fastclose",
    "mp-tcprst",
];

/// `tcp option mptcp subtype { mp-capable, dss }`, or `!= dss`, or `dss`. 1.0.6 has no words for them.
fn with_numbers_of_subtypes(line: &str) -> Option<String> {
    if !line.contains("mptcp subtype ") {
        return None;
    }
    // What is in quotes (a comment, a prefix) is left alone.
    let (statement, quoted) = line.split_at(line.find('"').unwrap_or(line.len()));
    let mut place = Place::Elsewhere;
    let mut before = "";
    let mut words = Vec::new();
    for word in statement.split(' ') {
        let bare = word.trim_end_matches([',', '\n']);
        let number =
            SUBTYPES.iter().position(|subtype| *subtype == bare).filter(|_| place != Place::Elsewhere);
        words.push(
            number.map_or_else(|| word.to_owned(), |number| word.replacen(bare, &number.to_string(), 1)),
        );
        place = match (place, bare) {
            (_, "subtype") if before == "mptcp" => Place::Value,
            (Place::Value, "!=" | "map" | "vmap") => Place::Value,
            (Place::Value, "{") => Place::Set,
            (Place::Set, "}") | (Place::Value | Place::Elsewhere, _) => Place::Elsewhere,
            (Place::Set, _) => Place::Set,
        };
        before = bare;
    }
    let new = words.join(" ") + quoted;
    (new != line).then_some(new)
}

/// Where a word of a statement stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// What is compared with a subtype.
    Value,
    /// Between braces, the same.
    Set,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(portable(text), expect);
        assert_eq!(portable(expect), expect, "again");
    }

    #[test]
    fn a_priority_is_a_name_only_where_every_release_has_it() {
        let line = |hook: &str, priority: &str| {
            format!(
                "\tchain c {{\n\t\ttype nat hook {hook} priority {priority}; policy accept;\n\t\tdrop\n\t}}\n"
            )
        };
        check(&line("output", "dstnat"), &line("output", "-100"));
        check(&line("output", "dstnat + 10"), &line("output", "-90"));
        check(&line("output", "dstnat - 10"), &line("output", "-110"));
        check(&line("input", "srcnat"), &line("input", "100"));
        check(&line("input", "srcnat - 1"), &line("input", "99"));
        for (hook, priority) in
            [("prerouting", "dstnat"), ("postrouting", "srcnat + 5"), ("output", "filter"), ("output", "out")]
        {
            check(&line(hook, priority), &line(hook, priority));
        }
        check(
            "\t\ttype filter hook ingress device \"output priority dstnat;\" priority filter;",
            "\t\ttype filter hook ingress device \"output priority dstnat;\" priority filter;",
        );
    }

    #[test]
    fn times_of_a_policy_are_seconds() {
        let object = |policy: &str| format!("\tct timeout t {{\n\t\tpolicy = {{ {policy} }}\n\t}}\n");
        check(&object("established : 2m, close : 12s"), &object("established : 120, close : 12"));
        check(&object("established : 1d2h3m4s"), &object("established : 93784"));
        check(&object("established : 132"), &object("established : 132"));
        check(&object("established : soon"), &object("established : soon"));
    }

    #[test]
    fn subtypes_are_numbers_and_quoted_words_are_left_alone() {
        check("\t\ttcp option mptcp subtype mp-capable\n", "\t\ttcp option mptcp subtype 0\n");
        check("tcp option mptcp subtype != dss accept", "tcp option mptcp subtype != 2 accept");
        check(
            "tcp option mptcp subtype { mp-capable, dss } counter comment \"mptcp subtype dss\"",
            "tcp option mptcp subtype { 0, 2 } counter comment \"mptcp subtype dss\"",
        );
        check(
            "tcp option mptcp subtype vmap { mp-join : jump dss-like, mp-tcprst : drop }",
            "tcp option mptcp subtype vmap { 1 : jump dss-like, 8 : drop }",
        );
        check("jump dss", "jump dss");
    }
}
