//! Sets with some of their variables forgotten or replaced.

use super::hash::QuickMap;
use super::{Bdd, Bit, Exhausted, Node, Var};

impl Bdd {
    /// The packets that are in `f` for some value of the forgotten variables.
    pub fn exists(&mut self, f: Node, forgotten: &dyn Fn(Var) -> bool) -> Result<Node, Exhausted> {
        let mut known = QuickMap::default();
        self.whole(|bdd| bdd.exists_from(f, forgotten, &mut known))
    }

    /// The packets that are in `f` when each variable is replaced, all at once. Quick where the replacements are
    /// constants or keep the order of the variables.
    pub fn substitute(&mut self, f: Node, with: &dyn Fn(Var) -> Bit) -> Result<Node, Exhausted> {
        let mut known = QuickMap::default();
        self.whole(|bdd| bdd.substitute_from(f, with, &mut known))
    }

    fn exists_from(
        &mut self,
        f: Node,
        forgotten: &dyn Fn(Var) -> bool,
        known: &mut QuickMap<u32, Node>,
    ) -> Result<Node, Exhausted> {
        if f.regular().is_true() {
            return Ok(f);
        }
        if let Some(result) = known.get(&f.0) {
            return Ok(*result);
        }
        self.step()?;
        let var = self.var(f);
        let (low, high) = self.branches(f);
        let low = self.exists_from(low, forgotten, known)?;
        let result = if forgotten(var) {
            if low.is_true() {
                low
            } else {
                let high = self.exists_from(high, forgotten, known)?;
                self.or_from(low, high)?
            }
        } else {
            let high = self.exists_from(high, forgotten, known)?;
            self.decide(var, low, high)?
        };
        known.insert(f.0, result);
        Ok(result)
    }

    /// `known` is by node without its mark: the complement's result is the result's complement.
    fn substitute_from(
        &mut self,
        f: Node,
        with: &dyn Fn(Var) -> Bit,
        known: &mut QuickMap<u32, Node>,
    ) -> Result<Node, Exhausted> {
        let regular = f.regular();
        if regular.is_true() {
            return Ok(f);
        }
        if let Some(result) = known.get(&regular.0) {
            return Ok(result.complement_as(f));
        }
        self.step()?;
        let (low, high) = self.branches(regular);
        let result = match with(self.var(regular)) {
            Bit::Const(value) => self.substitute_from(if value { high } else { low }, with, known)?,
            bit @ (Bit::Var(_) | Bit::NotVar(_)) => {
                let low = self.substitute_from(low, with, known)?;
                let high = self.substitute_from(high, with, known)?;
                self.choose(bit, low, high)?
            }
        };
        known.insert(regular.0, result);
        Ok(result.complement_as(f))
    }
}
