//! Of changed rules, only rules that can meet their packets are followed. That changes no answer: each change is asked
//! about twice, the second time together with a difference that touches no packet and is no rule, so that all rules are
//! followed.

use crate::agreement;
use crate::generated::{INTERFACES, loaded, ruleset};
use crate::kernel::{Backend, Lab};
use crate::sampling::Dice;
use crate::saved::saved;
use fwdrift::compare::{Difference, Known};
use fwdrift::model::{Effect, Item, Name, Rule, Ruleset, TableKey};
use fwdrift::pipeline;
use fwdrift::traffic::effects::{Answer, Budget, effects};
use std::collections::BTreeSet;

/// Rulesets, and changes of each.
const RULESETS: u64 = 24;
const CHANGES: usize = 6;

#[test]
fn what_is_left_out_as_being_about_other_packets_changes_no_answer() {
    let mut lab = Lab::new(&INTERFACES);
    let mut with_effect = 0;
    let mut asked = 0;
    for number in 1..=RULESETS {
        let mut dice = Dice(agreement::seed() << 34 | number);
        lab.flush();
        let text = if number % 4 == 0 {
            let rules = saved(&mut dice, 4);
            loaded(rules, |text| lab.load_iptables(4, text, Backend::Nft))
        } else {
            loaded(ruleset(&mut dice), |text| lab.load_nft(text))
        };
        let before = lab.ruleset();
        for _ in 0..CHANGES {
            let Some(after) = changed(&before, &mut dice) else { continue };
            let differences = pipeline::compared(&before, &after, &Known::default()).unwrap().differences;
            if !differences.iter().all(is_rule) || differences.is_empty() {
                continue;
            }
            let few = answer(&before, &after, &differences);
            let all = answer(&before, &after, &[&differences[..], &[beside(&differences[0])]].concat());
            let (Some(few), Some(all)) = (few, all) else { continue };
            let what: Vec<_> =
                differences.iter().map(|one| (&one.change.before, &one.change.after)).collect();
            assert_eq!(few, all, "{what:#?}\n{text}");
            asked += 1;
            with_effect += usize::from(!few.is_empty());
        }
    }
    assert!(asked >= 60 && with_effect >= 12, "{with_effect} of {asked} changes have an effect");
}

/// One rule goes, moves, or comes once more at another place of its table.
fn changed(before: &Ruleset, dice: &mut Dice) -> Option<Ruleset> {
    let mut after = before.clone();
    let filled: Vec<(TableKey, Name)> = before
        .tables
        .iter()
        .flat_map(|(key, table)| table.chains.iter().map(move |(name, chain)| (key, name, chain)))
        .filter(|(.., chain)| !chain.rules.is_empty())
        .map(|(key, name, _)| (key.clone(), name.clone()))
        .collect();
    if filled.is_empty() {
        return None;
    }
    let (key, name) = dice.one(&filled).clone();
    let rules = &mut after.tables.get_mut(&key)?.chains.get_mut(&name)?.rules;
    let at = dice.below(rules.len());
    let rule: Rule = if dice.once_in(2) { rules.remove(at) } else { rules[at].clone() };
    if !dice.once_in(3) {
        let others: Vec<&(TableKey, Name)> = filled.iter().filter(|(other, _)| *other == key).collect();
        let to = dice.one(&others).1.clone();
        // A jump from elsewhere could make a loop.
        let jumps = fwdrift::normalise::jumps(&rule.attrs).next().is_some();
        let to = if jumps { name } else { to };
        let rules = &mut after.tables.get_mut(&key)?.chains.get_mut(&to)?.rules;
        rules.insert(dice.below(rules.len() + 1), rule);
    }
    Some(after)
}

fn is_rule(difference: &Difference) -> bool {
    [&difference.before, &difference.after].into_iter().flatten().all(|item| matches!(item, Item::Rule(..)))
}

/// A flowtable, which decides nothing.
fn beside(of: &Difference) -> Difference {
    let key = of.before.as_ref().or(of.after.as_ref()).unwrap().table().clone();
    let item = Some(Item::Flowtable(key, Name(b"beside".to_vec())));
    Difference { before: item.clone(), after: item, change: of.change.clone() }
}

/// What is told, whatever boxes it is told in: who decides instead of whom about packets of which family, where. None if
/// that is not all.
fn answer(before: &Ruleset, after: &Ruleset, differences: &[Difference]) -> Option<BTreeSet<String>> {
    let budget = Budget { steps: Budget::default().steps / 10, statements: 500, ..Budget::default() };
    let Answer { found, incomplete } = effects(before, after, differences, &[], budget);
    let families = |family: &str| match family {
        "inet" => vec!["ip".to_owned(), "ip6".to_owned()],
        other => vec![other.to_owned()],
    };
    let told = found.iter().flat_map(|found| {
        let Effect { effect, family, hook, .. } = &found.effect;
        let who = format!("{:?} {:?} by {:?}", found.was, found.now, found.difference);
        families(family).into_iter().map(move |family| format!("{effect:?} {family} at {hook}: {who}"))
    });
    let told = told.collect();
    incomplete.is_empty().then_some(told)
}
