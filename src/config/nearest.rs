//! The valid word nearest to one that was mistyped.

/// The candidate with the smallest edit distance (Levenshtein) to `word`; none when even the nearest
/// differs in more than a third of its letters, as then the advice would mislead.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["repo", "host", "audit_log"];

    #[test]
    fn a_swapped_or_missing_letter_finds_its_word() {
        assert_eq!(nearest("rpeo", &KEYS), Some("repo"));
        assert_eq!(nearest("audit-log", &KEYS), Some("audit_log"));
        assert_eq!(nearest("hosts", &KEYS), Some("host"));
    }

    #[test]
    fn an_unrelated_word_has_no_nearest() {
        assert_eq!(nearest("webhook_url", &KEYS), None);
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
