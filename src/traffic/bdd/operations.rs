//! The operations of two and three sets, by recursion from the root, each result remembered.

use super::{Bdd, Exhausted, Node};

/// Marks stand where an operation of three has its last operand; no node has such a number.
pub(super) const FIRST_MARK: u32 = u32::MAX - 7;
const AND: u32 = FIRST_MARK;
const XOR: u32 = FIRST_MARK + 1;

impl Bdd {
    /// The packets that are in both.
    pub fn and(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        self.whole(|bdd| bdd.and_from(a, b))
    }

    /// The packets that are in `a`, in `b` or in both.
    pub fn or(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        self.and(a.not(), b.not()).map(Node::not)
    }

    /// The packets of `a` that are not in `b`.
    pub fn minus(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        self.and(a, b.not())
    }

    /// The packets that are in one of the two only.
    pub fn xor(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        self.whole(|bdd| bdd.xor_from(a, b))
    }

    /// The packets of `then` where `condition` holds, and those of `otherwise` elsewhere.
    pub fn ite(&mut self, condition: Node, then: Node, otherwise: Node) -> Result<Node, Exhausted> {
        self.whole(|bdd| bdd.ite_from(condition, then, otherwise))
    }

    /// Whether no packet is in both. Makes no node, and ends at the first packet found.
    pub fn is_disjoint(&mut self, a: Node, b: Node) -> Result<bool, Exhausted> {
        if let Some(known) = both_if_plain(a, b) {
            return Ok(known.is_false());
        }
        let key = pair(a, b, AND);
        if let Some(known) = self.recall(key) {
            return Ok(known.is_false());
        }
        self.step()?;
        let var = self.var(a).min(self.var(b));
        let (a_low, a_high) = self.branches_at(a, var);
        let (b_low, b_high) = self.branches_at(b, var);
        let disjoint = self.is_disjoint(a_low, b_low)? && self.is_disjoint(a_high, b_high)?;
        if disjoint {
            // It is also what `and` would have found.
            self.remember(key, Node::FALSE);
        }
        Ok(disjoint)
    }

    /// Whether each packet of `a` is in `b`. Makes no node.
    pub fn implies(&mut self, a: Node, b: Node) -> Result<bool, Exhausted> {
        self.is_disjoint(a, b.not())
    }

    pub(super) fn and_from(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        if let Some(known) = both_if_plain(a, b) {
            return Ok(known);
        }
        let key = pair(a, b, AND);
        if let Some(known) = self.recall(key) {
            return Ok(known);
        }
        self.step()?;
        let var = self.var(a).min(self.var(b));
        let (a_low, a_high) = self.branches_at(a, var);
        let (b_low, b_high) = self.branches_at(b, var);
        let low = self.and_from(a_low, b_low)?;
        let high = self.and_from(a_high, b_high)?;
        let result = self.decide(var, low, high)?;
        self.remember(key, result);
        Ok(result)
    }

    pub(super) fn or_from(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        self.and_from(a.not(), b.not()).map(Node::not)
    }

    fn xor_from(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        // A complement of either is one of the result.
        let marked = a.complement_as(b).regular() != a.complement_as(b);
        let (a, b) = (a.regular(), b.regular());
        let plain = if a == b {
            Node::FALSE
        } else if a.is_true() {
            b.not()
        } else if b.is_true() {
            a.not()
        } else {
            self.xor_of_regular(a, b)?
        };
        Ok(if marked { plain.not() } else { plain })
    }

    fn xor_of_regular(&mut self, a: Node, b: Node) -> Result<Node, Exhausted> {
        let key = pair(a, b, XOR);
        if let Some(known) = self.recall(key) {
            return Ok(known);
        }
        self.step()?;
        let var = self.var(a).min(self.var(b));
        let (a_low, a_high) = self.branches_at(a, var);
        let (b_low, b_high) = self.branches_at(b, var);
        let low = self.xor_from(a_low, b_low)?;
        let high = self.xor_from(a_high, b_high)?;
        let result = self.decide(var, low, high)?;
        self.remember(key, result);
        Ok(result)
    }

    pub(super) fn ite_from(&mut self, f: Node, g: Node, h: Node) -> Result<Node, Exhausted> {
        let (f, g, h) = if f.is_complement() { (f.not(), h, g) } else { (f, g, h) };
        if f.is_true() || g == h {
            return Ok(g);
        }
        if g.is_true() || g == f {
            return self.or_from(f, h);
        }
        if g.is_false() || g == f.not() {
            return self.and_from(f.not(), h);
        }
        if h.is_true() || h == f.not() {
            return self.or_from(f.not(), g);
        }
        if h.is_false() || h == f {
            return self.and_from(f, g);
        }
        if g == h.not() {
            return self.xor_from(f, h);
        }
        if g.is_complement() {
            return self.ite_of_regular(f, g.not(), h.not()).map(Node::not);
        }
        self.ite_of_regular(f, g, h)
    }

    fn ite_of_regular(&mut self, f: Node, g: Node, h: Node) -> Result<Node, Exhausted> {
        let key = [f.0, g.0, h.0];
        if let Some(known) = self.recall(key) {
            return Ok(known);
        }
        self.step()?;
        let var = self.var(f).min(self.var(g)).min(self.var(h));
        let (f_low, f_high) = self.branches_at(f, var);
        let (g_low, g_high) = self.branches_at(g, var);
        let (h_low, h_high) = self.branches_at(h, var);
        let low = self.ite_from(f_low, g_low, h_low)?;
        let high = self.ite_from(f_high, g_high, h_high)?;
        let result = self.decide(var, low, high)?;
        self.remember(key, result);
        Ok(result)
    }
}

/// What is in both, where no recursion is needed to tell.
#[inline]
fn both_if_plain(a: Node, b: Node) -> Option<Node> {
    if a == b || b.is_true() {
        Some(a)
    } else if a.is_true() {
        Some(b)
    } else if a == b.not() || a.is_false() || b.is_false() {
        Some(Node::FALSE)
    } else {
        None
    }
}

/// The order of the two does not matter.
#[inline]
fn pair(a: Node, b: Node, mark: u32) -> [u32; 3] {
    [a.0.min(b.0), a.0.max(b.0), mark]
}
