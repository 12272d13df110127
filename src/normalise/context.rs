//! Kernel settings and BPF programs as one table of objects. Pure.

use crate::model::{ContextObject, Name, Object, Table};

/// The table: each object by its name, its value as `attrs`.
pub fn table(objects: &[ContextObject]) -> Table {
    let object =
        |found: &ContextObject| ((0, Name(found.name.clone())), Object { attrs: found.value.clone() });
    Table { objects: objects.iter().map(object).collect(), ..Table::default() }
}
