//! Packets whose fate changed, as statements.

use super::{Answer, Comparison, DeciderRef, Found};
use crate::model::{Effect, EffectKind};
use crate::traffic::bdd::{Node, Var};
use crate::traffic::program::Hook;
use crate::traffic::space::Key;
use crate::traffic::walk::{Piece, WalkError, Way};
use crate::traffic::words;

impl Comparison<'_, '_> {
    /// Statements about packets between two decisions: the one that stops them, and the one that let or lets them pass.
    pub(super) fn statements(
        &mut self,
        way: Way,
        effect: EffectKind,
        packets: Node,
        stops: Option<&Piece>,
        passes: Option<&Piece>,
        answer: &mut Answer,
    ) -> Result<(), WalkError> {
        if packets.is_false() {
            return Ok(());
        }
        let (was, now) = match effect {
            EffectKind::Cut => (passes, stops),
            EffectKind::Opened => (stops, passes),
        };
        let was: Option<DeciderRef> = was.and_then(|piece| DeciderRef::of(&self.before, piece));
        let now: Option<DeciderRef> = now.and_then(|piece| DeciderRef::of(&self.after, piece));
        let difference = self.answerable(packets, was.as_ref(), now.as_ref())?;
        let hook = stops.or(passes).map_or(last_hook(way), |piece| piece.hook);
        let broad = self.without_needless_fields(way, packets)?;
        let fields = self.walker.space.fields();
        let found = self.walker.bdd.regions(broad, &fields, self.budget.statements)?;
        if !found.complete {
            let text = format!(
                "at {}: more packets are {} than these statements say",
                hook.as_str(),
                effect.as_str()
            );
            answer.incomplete.push(text);
        }
        let kind = self.walker.space.kind();
        for region in &found.regions {
            let node = self.walker.bdd.to_node(&found.fields, region)?;
            let share = self.walker.bdd.share(node);
            let inside = self.walker.bdd.and(node, packets)?;
            let mut flow = None;
            for (name, path, of_flow) in &self.flows {
                if flow.is_none() && *path == way.path && !self.walker.bdd.is_disjoint(inside, *of_flow)? {
                    flow = Some((*name).to_owned());
                }
            }
            let described = words::describe(self.walker.space, region);
            let value = self.walker.example(inside);
            let sample = words::sample(self.walker.space, way, &value);
            let phrase = described.phrase(kind);
            answer.found.push(Found {
                difference,
                effect: Effect {
                    effect,
                    statement: String::new(),
                    hook: hook.as_str().to_owned(),
                    family: kind.as_str().to_owned(),
                    proto: described.proto,
                    src: described.src,
                    dst: described.dst,
                    sport: described.sport,
                    dport: described.dport,
                    iif: described.iif,
                    oif: described.oif,
                    state: described.state,
                    other: described.other,
                    sample,
                    was: None,
                    now: None,
                    conditions: described.conditions,
                    share,
                    flow,
                },
                phrase,
                path: way.path,
                is_on_several_paths: false,
                was: was.clone(),
                now: now.clone(),
            });
        }
        Ok(())
    }

    /// The same packets, without a word about the state or the direction of their connection if all states fare alike:
    /// those that no connection can have do not count.
    fn without_needless_fields(&mut self, way: Way, packets: Node) -> Result<Node, WalkError> {
        let domain = self.walker.domain()?;
        let packets = self.without_absent_interfaces(way, packets)?;
        let words: Vec<(Var, Var)> = [Key::Direction, Key::State]
            .iter()
            .filter_map(|key| self.walker.space.find(key))
            .map(|word| (word.start, word.start + word.width))
            .collect();
        Ok(self.walker.without_needless(packets, domain, &words)?)
    }
}

fn last_hook(way: Way) -> Hook {
    way.hooks().last().copied().unwrap_or(Hook::Input)
}
