//! Lists of which the first entry that matches counts, as chains of rules are.

use super::{Bdd, Exhausted, Node};

/// Which packets match it, and of these, which are in the result.
type Answer = (Node, Node);

impl Bdd {
    /// For each packet what the first matching entry says of it, and `otherwise` where none matches. An entry is the
    /// packets that it matches, and the set in which these are or are not (`TRUE` for accept, `FALSE` for drop). Halves of the list
    /// are put together, so that most of the work is on small sets: for long lists much quicker than one by one.
    pub fn first_match(&mut self, entries: &[(Node, Node)], otherwise: Node) -> Result<Node, Exhausted> {
        self.whole(|bdd| bdd.first_match_from(entries, otherwise))
    }

    fn first_match_from(&mut self, entries: &[Answer], otherwise: Node) -> Result<Node, Exhausted> {
        match entries {
            [] => Ok(otherwise),
            [(matched, result)] => self.ite_from(*matched, *result, otherwise),
            several => {
                let (first, second) = several.split_at(several.len() / 2);
                let rest = self.first_match_from(second, otherwise)?;
                let (matched, result) = self.halves(first)?;
                self.ite_from(matched, result, rest)
            }
        }
    }

    /// What any of the entries matches, and what the first one that does says; nothing where none does.
    fn halves(&mut self, entries: &[Answer]) -> Result<Answer, Exhausted> {
        match entries {
            [] => Ok((Node::FALSE, Node::FALSE)),
            [(matched, result)] => Ok((*matched, self.and_from(*matched, *result)?)),
            several => {
                let (first, second) = several.split_at(several.len() / 2);
                let (first, said_first) = self.halves(first)?;
                let (second, said_second) = self.halves(second)?;
                let said = self.ite_from(first, said_first, said_second)?;
                Ok((self.or_from(first, second)?, said))
            }
        }
    }
}
