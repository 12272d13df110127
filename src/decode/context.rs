//! Texts of kernel settings and BPF programs: `NAME = VALUE`, a line each, as in sysctl.d(5). Pure.

use crate::model::{Item, Name, Object, Ruleset, text_from_kernel};

/// The item's text; none if the ruleset does not have it.
pub fn text(ruleset: &Ruleset, item: &Item) -> Option<String> {
    let table = ruleset.tables.get(item.table())?;
    let line = |name: &Name, object: &Object| format!("{name} = {}", text_from_kernel(&object.attrs));
    match item {
        Item::Table(_) => {
            let lines: Vec<String> =
                table.objects.iter().map(|((_, name), object)| line(name, object)).collect();
            Some(lines.join("\n"))
        }
        Item::Object(_, kind, name) => Some(line(name, table.objects.get(&(*kind, name.clone()))?)),
        Item::TableHead(_)
        | Item::Chain(..)
        | Item::ChainHead(..)
        | Item::Rule(..)
        | Item::Set(..)
        | Item::SetHead(..)
        | Item::Element(..)
        | Item::Flowtable(..) => None,
    }
}
