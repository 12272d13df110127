//! A loaded ruleset as one file: an outline that is read at once, and bodies that are read when needed.
//!
//! Role: the cache's form of an approved state. It holds no rule in memory unless somebody asks for it. The
//! form belongs to one version of fwdrift ([`MAGIC`]); another one is read as "not there".
//!
//! Layout: magic, length of the index (64 bits), index, bodies. The index names everything in order and says where
//! in the bodies each rule, each set's elements and each anonymous object is.

mod bodies;
mod index;
mod write;

pub use bodies::Bodies;
pub use write::to_bytes;

use crate::model::{Backend, Name, Outline, Ruleset, TableKey};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const MAGIC: &[u8] = b"fwdrift-ruleset/2\n";

/// Places in the bodies, of each table.
type Places = BTreeMap<TableKey, TablePlaces>;

#[derive(Debug, Default)]
struct TablePlaces {
    rules: BTreeMap<Name, Box<[u32]>>,
    elements: BTreeMap<Name, u32>,
    anonymous_sets: BTreeMap<Name, u32>,
    anonymous_chains: BTreeMap<Name, u32>,
}

/// An open file of this form.
#[derive(Debug)]
pub struct Stored {
    outline: Outline,
    bodies: Bodies,
}

impl Stored {
    /// Opens a file; none if it is not there, or not of this form.
    pub fn open(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let mut head = [0; MAGIC.len() + 8];
        file.read_exact(&mut head).ok()?;
        let (magic, length) = head.split_at(MAGIC.len());
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let start = (head.len() as u64).checked_add(length)?;
        if magic != MAGIC || start > file.metadata().ok()?.len() {
            return None;
        }
        let (outline, places) = index::read((&file).take(length)).ok()?;
        let mut stored = Self { outline, bodies: Bodies { places, file, start } };
        stored.complete_outline().ok()?;
        Some(stored)
    }

    /// The outline.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The outline to work with, and the rest of which [`Bodies::fill`] takes what is needed.
    pub fn into_parts(self) -> (Outline, Bodies) {
        (self.outline, self.bodies)
    }

    /// The whole ruleset.
    pub fn into_ruleset(self) -> Option<Ruleset> {
        let mut ruleset = self.outline.ruleset;
        let tables: Vec<TableKey> = ruleset.tables.keys().cloned().collect();
        let mut filler = self.bodies.whole_filler(&mut ruleset).ok()?;
        tables.iter().try_for_each(|key| filler.table(key)).ok()?;
        Some(ruleset)
    }

    /// What is compared in full from the start: tables that are not nf_tables', and elements that may expire.
    fn complete_outline(&mut self) -> std::io::Result<()> {
        let outline = &self.outline;
        let (native, others): (Vec<&TableKey>, Vec<&TableKey>) =
            outline.ruleset.tables.keys().partition(|key| key.backend == Backend::NfTables);
        let others: Vec<TableKey> = others.into_iter().cloned().collect();
        let mut full: Vec<(TableKey, Name)> = Vec::new();
        for key in native {
            let Some(table) = outline.ruleset.tables.get(key) else { continue };
            for (name, set) in &table.sets {
                let name = (key.clone(), name.clone());
                if !set.is_dynamic() && !outline.elements.contains_key(&name) {
                    full.push(name);
                }
            }
        }
        let mut filler = self.bodies.filler(&mut self.outline.ruleset);
        others.iter().try_for_each(|key| filler.table(key))?;
        full.iter().try_for_each(|(key, name)| filler.elements(key, name))
    }
}
