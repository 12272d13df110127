//! What a mutation must be reported as, and the comparison of a report with that.
//!
//! Kind and place come from what was done; texts and positions from nft's own listings before and after.

use crate::listing::{Listing, Object, Place, Rule, Table};
use crate::translate::{as_nft, canonical};
use fwdrift::model::{Change, ChangeKind, ObjectKind};

/// One change that must be reported.
#[derive(Clone, Debug)]
pub struct Expected {
    pub kind: ChangeKind,
    pub object: ObjectKind,
    pub family: String,
    pub table: String,
    /// The chain of a chain or a rule.
    pub chain: Option<String>,
    /// The name; none for rules.
    pub name: Option<String>,
    pub texts: Texts,
    /// Of a rule that was changed where it stands: its place, from 1.
    pub place: Option<usize>,
}

/// Where the texts are in the listings.
#[derive(Clone, Debug)]
pub enum Texts {
    /// The whole table.
    Table,
    /// The table's own lines.
    TableHead,
    /// The whole object.
    Object(Place),
    /// A set without its elements.
    SetHead(Place),
    /// The chain's own lines.
    Head(Place),
    /// A rule: whichever place makes the chain before into the chain after.
    Rule(Place),
    /// The one element by which the two differ.
    Element(Place),
}

impl Expected {
    pub fn rule(kind: ChangeKind, chain: &Place) -> Self {
        let texts = Texts::Rule(chain.clone());
        Self { chain: Some(chain.name.clone()), name: None, ..Self::of(kind, ObjectKind::Rule, chain, texts) }
    }

    /// A rule that was changed where it stands, from 0.
    pub fn rule_at(chain: &Place, place: usize) -> Self {
        Self { place: Some(place + 1), ..Self::rule(ChangeKind::Modified, chain) }
    }

    pub fn head(chain: &Place) -> Self {
        let texts = Texts::Head(chain.clone());
        let expected = Self::of(ChangeKind::Modified, ObjectKind::Chain, chain, texts);
        Self { chain: Some(chain.name.clone()), ..expected }
    }

    pub fn object(kind: ChangeKind, place: &Place) -> Self {
        let object = match place.kind.as_str() {
            "chain" => ObjectKind::Chain,
            "map" => ObjectKind::Map,
            "set" => ObjectKind::Set,
            "counter" => ObjectKind::Counter,
            "quota" => ObjectKind::Quota,
            "limit" => ObjectKind::Limit,
            "ct helper" => ObjectKind::CtHelper,
            "ct timeout" => ObjectKind::CtTimeout,
            "ct expectation" => ObjectKind::CtExpectation,
            "secmark" => ObjectKind::Secmark,
            "synproxy" => ObjectKind::Synproxy,
            kind => panic!("an object of kind {kind}"),
        };
        let chain = (place.kind == "chain").then(|| place.name.clone());
        Self { chain, ..Self::of(kind, object, place, Texts::Object(place.clone())) }
    }

    pub fn set_head(set: &Place) -> Self {
        Self { texts: Texts::SetHead(set.clone()), ..Self::object(ChangeKind::Modified, set) }
    }

    pub fn element(kind: ChangeKind, set: &Place) -> Self {
        Self::of(kind, ObjectKind::Element, set, Texts::Element(set.clone()))
    }

    pub fn table(kind: ChangeKind, family: &str, table: &str) -> Self {
        let text = |text: &str| text.to_owned();
        let (family, name) = (text(family), Some(text(table)));
        let object = ObjectKind::Table;
        Self { kind, object, family, table: text(table), chain: None, name, texts: Texts::Table, place: None }
    }

    pub fn table_head(family: &str, table: &str) -> Self {
        Self { texts: Texts::TableHead, ..Self::table(ChangeKind::Modified, family, table) }
    }

    fn of(kind: ChangeKind, object: ObjectKind, place: &Place, texts: Texts) -> Self {
        let (family, table) = (place.family.clone(), place.table.clone());
        Self { kind, object, family, table, chain: None, name: Some(place.name.clone()), texts, place: None }
    }

    /// What is wrong with a change; none if it is this one, exactly.
    pub fn objection(&self, change: &Change, before: &Listing, after: &Listing) -> Option<String> {
        let place = |change: &Change| (change.kind, change.object, change.chain.clone(), change.name.clone());
        let wanted = (self.kind, self.object, self.chain.clone(), self.name.clone());
        if (&change.family, &change.table) != (&self.family, &self.table) || place(change) != wanted {
            return Some(format!("it should be {wanted:?} of {} {}", self.family, self.table));
        }
        if matches!(self.texts, Texts::Rule(_)) {
            return self.rule_objection(change, before, after);
        }
        if change.position.is_some() {
            return Some("only rules have a position".to_owned());
        }
        let nft = |text: &Option<String>| text.as_ref().map(|t| as_nft(change, t, &self.texts));
        let comparable = |text: String| match self.texts {
            Texts::Table => canonical(&in_order_of_name(&text)),
            _ => canonical(&text),
        };
        let sides = [
            ("before", &change.before, before, after, ChangeKind::Added),
            ("after", &change.after, after, before, ChangeKind::Removed),
        ];
        sides.into_iter().find_map(|(name, text, side, other, absent)| {
            let wanted = self.text(side, other).filter(|_| self.kind != absent).map(comparable);
            text_objection(name, nft(text).map(comparable), wanted)
        })
    }

    /// What nft lists of it on one side.
    fn text(&self, side: &Listing, other: &Listing) -> Option<String> {
        match &self.texts {
            Texts::Table => side.table(&self.family, &self.table).map(|table| table.text.clone()),
            Texts::TableHead => side.table(&self.family, &self.table).map(Table::head),
            Texts::Object(place) => side.object(place).map(|object| object.text.clone()),
            Texts::SetHead(place) => side.object(place).map(Object::without_elements),
            Texts::Head(place) => side.object(place).map(|object| object.head.clone()),
            Texts::Element(place) => only_in(side.object(place), other.object(place)).pop(),
            Texts::Rule(_) => None,
        }
    }

    fn rule_objection(&self, change: &Change, before: &Listing, after: &Listing) -> Option<String> {
        let Texts::Rule(chain) = &self.texts else { return None };
        let rules = |side: &Listing| side.object(chain).map_or(Vec::new(), |chain| chain.rules.clone());
        let (old, new) = (rules(before), rules(after));
        let at = |place: Option<usize>| place.and_then(|place| place.checked_sub(1));
        let Some(position) = change.position else { return Some("it has no position".to_owned()) };
        let (from, to) = (at(position.before), at(position.after));
        if let Some(place) = self.place {
            let told = (position.before, position.after);
            if told != (Some(place), Some(place)) {
                return Some(format!("it was changed at {place}, not at {position:?}"));
            }
            if change.before == change.after
                && !change.note.as_ref().is_some_and(|n| n.contains("no tool prints"))
            {
                return Some("before and after look alike".to_owned());
            }
        }
        // The reported change, made to the chain before, gives the chain after.
        let mut made: Vec<String> = texts(&old);
        let whole = matches!(
            (self.kind, from, to),
            (ChangeKind::Added, None, Some(_))
                | (ChangeKind::Removed, Some(_), None)
                | (ChangeKind::Modified | ChangeKind::Moved, Some(_), Some(_))
        );
        if !whole || from.is_some_and(|from| old.len() <= from) || to.is_some_and(|to| new.len() <= to) {
            return Some(format!("its position does not fit: {position:?}"));
        }
        if let Some(from) = from {
            made.remove(from);
        }
        if let Some(to) = to {
            made.insert(to.min(made.len()), canonical(&new[to].text));
        }
        if made != texts(&new) {
            return Some(format!("done at {position:?}, it does not give the chain after"));
        }
        let nft =
            |text: &Option<String>| text.as_ref().map(|text| canonical(&as_nft(change, text, &self.texts)));
        text_objection("before", nft(&change.before), from.map(|from| canonical(&old[from].text)))
            .or_else(|| text_objection("after", nft(&change.after), to.map(|to| canonical(&new[to].text))))
    }
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(|rule| canonical(&rule.text)).collect()
}

/// A table's text with its objects in the order of their names: the order in which nft prints them is
/// that of their creation, and means nothing.
fn in_order_of_name(text: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match blocks.last_mut().filter(|_| line.starts_with("\t\t") || line == "\t}") {
            Some(block) => *block += &format!("\n{line}"),
            None => blocks.push(line.to_owned()),
        }
    }
    blocks.sort();
    blocks.join("\n")
}

/// The elements of `one` that `other` lacks.
pub fn only_in(one: Option<&Object>, other: Option<&Object>) -> Vec<String> {
    let mut rest: Vec<String> = one.map_or(Vec::new(), |object| object.elements.clone());
    for element in other.iter().flat_map(|object| &object.elements) {
        if let Some(place) = rest.iter().position(|one| one == element) {
            rest.remove(place);
        }
    }
    rest
}

fn text_objection(side: &str, text: Option<String>, listed: Option<String>) -> Option<String> {
    (text != listed).then(|| format!("{side} is\n{text:?}\nbut nft lists\n{listed:?}"))
}

/// Everything that is wrong with a report; none if it is exactly what was expected, in any order.
pub fn objections(expected: &[Expected], found: &[Change], before: &Listing, after: &Listing) -> Vec<String> {
    let mut objections = Vec::new();
    if expected.len() != found.len() {
        objections.push(format!("{} changes instead of {}", found.len(), expected.len()));
    }
    for wanted in expected {
        let all: Vec<Option<String>> = found.iter().map(|c| wanted.objection(c, before, after)).collect();
        if !all.contains(&None) {
            objections.extend(all.into_iter().flatten().take(1));
        }
    }
    objections
}

/// All tables of a listing, removed.
pub fn all_removed(tables: &[Table]) -> Vec<Expected> {
    tables.iter().map(|table| Expected::table(ChangeKind::Removed, &table.family, &table.name)).collect()
}
