//! A quick no: most rules have nothing to do with a small region, and a few cubes around it tell so.
//!
//! A region is followed through thousands of rules, and stays the same while they miss it. Its *cover* is a superset of
//! few cubes over protocol, interfaces and addresses; a rule whose question contradicts each of them asks in vain.

use super::Walker;
use crate::traffic::bdd::{Exhausted, Node, Var};
use crate::traffic::space::Key;

/// After so many questions about the same packets their cover is made.
const WORTH: u32 = 12;
/// A cover of more cubes than this takes as long as the diagram itself.
const MOST: usize = 16;

/// What a cube says of a variable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Is(bool),
}

/// The cover of the packets that were asked for last.
#[derive(Default)]
pub struct Cover {
    of: Option<Node>,
    asked: u32,
    /// By variable, for each cube; none if there is no small cover.
    cubes: Option<Vec<Vec<Said>>>,
}

impl Walker<'_> {
    /// Whether none of the packets has all of these values, as far as that can be told quickly.
    pub(super) fn is_excluded(&mut self, within: Node, literals: &[(Var, bool)]) -> Result<bool, Exhausted> {
        if self.cover.of != Some(within) {
            self.cover = Cover { of: Some(within), asked: 0, cubes: None };
        }
        self.cover.asked += 1;
        if self.cover.asked == WORTH {
            self.cover.cubes = self.cubes_around(within)?;
        }
        let contradicts = |cube: &Vec<Said>| {
            literals
                .iter()
                .any(|(var, value)| cube.get(*var as usize).is_some_and(|said| *said == Said::Is(!*value)))
        };
        Ok(self.cover.cubes.as_ref().is_some_and(|cubes| cubes.iter().all(contradicts)))
    }

    fn cubes_around(&mut self, within: Node) -> Result<Option<Vec<Vec<Said>>>, Exhausted> {
        const KEPT: [Key; 5] = [Key::Protocol, Key::Iif, Key::Oif, Key::Daddr, Key::Saddr];
        let kept: Vec<(Var, Var)> = KEPT
            .iter()
            .filter_map(|key| self.space.find(key))
            .map(|word| (word.start, word.start + word.width))
            .collect();
        let is_kept = |var: Var| kept.iter().any(|(start, end)| (*start..*end).contains(&var));
        let mut left = self.bdd.exists(within, &|var| !is_kept(var))?;
        let length = kept.iter().map(|(_, end)| *end as usize).max().unwrap_or(0);
        let mut cubes = Vec::new();
        while let Some(path) = self.bdd.one(left, &|_| false) {
            if cubes.len() == MOST {
                return Ok(None);
            }
            let mut cube = vec![Said::Nothing; length];
            for (var, value) in &path {
                if let Some(said) = cube.get_mut(*var as usize) {
                    *said = Said::Is(*value);
                }
            }
            let node = self.bdd.cube(&path)?;
            left = self.bdd.minus(left, node)?;
            cubes.push(cube);
        }
        Ok(Some(cubes))
    }
}
