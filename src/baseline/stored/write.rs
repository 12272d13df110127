//! A ruleset into the stored form. Pure.

use super::MAGIC;
use crate::model::bytes::{put_bytes, put_u32};
use crate::model::{Backend, Digest, ElementKey, Ruleset, Set, Table, TableKey};
use crate::netlink::nft::set::F_TIMEOUT;

/// The file's bytes; none if the ruleset is too large for its 32-bit places.
pub fn to_bytes(ruleset: &Ruleset) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    writer.index.extend_from_slice(&ruleset.digest().0);
    put_u32(&mut writer.index, ruleset.interfaces.len() as u32);
    for (index, name) in &ruleset.interfaces {
        put_u32(&mut writer.index, *index);
        put_bytes(&mut writer.index, name);
    }
    put_u32(&mut writer.index, ruleset.tables.len() as u32);
    for (key, table) in &ruleset.tables {
        writer.table(key, table)?;
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(writer.index.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&writer.index);
    bytes.extend_from_slice(&writer.bodies);
    Some(bytes)
}

#[derive(Default)]
struct Writer {
    index: Vec<u8>,
    bodies: Vec<u8>,
}

impl Writer {
    fn table(&mut self, key: &TableKey, table: &Table) -> Option<()> {
        // A new field is one more thing to store.
        let Table { attrs: _, chains: _, sets: _, objects: _, flowtables: _, anonymous: _ } = table;
        self.index.extend_from_slice(&[backend_number(key.backend), key.family.number()]);
        put_bytes(&mut self.index, &key.name.0);
        put_bytes(&mut self.index, &table.attrs);
        put_u32(&mut self.index, table.chains.len() as u32);
        for (name, chain) in &table.chains {
            put_bytes(&mut self.index, &name.0);
            put_bytes(&mut self.index, &chain.attrs);
            put_u32(&mut self.index, chain.rules.len() as u32);
            for rule in &chain.rules {
                self.index.extend_from_slice(&rule.digest.0);
                self.place()?;
                put_bytes(&mut self.bodies, &rule.attrs);
            }
        }
        put_u32(&mut self.index, table.sets.len() as u32);
        for (name, set) in &table.sets {
            put_bytes(&mut self.index, &name.0);
            self.set_head(set);
            let digests = member_digests(key, set);
            self.index.push(u8::from(digests.is_some()));
            let digests = digests.unwrap_or_default();
            put_u32(&mut self.index, digests.len() as u32);
            digests.iter().for_each(|digest| self.index.extend_from_slice(&digest.0));
            self.place()?;
            put_elements(&mut self.bodies, set);
        }
        put_u32(&mut self.index, table.objects.len() as u32);
        for ((kind, name), object) in &table.objects {
            put_u32(&mut self.index, *kind);
            put_bytes(&mut self.index, &name.0);
            put_bytes(&mut self.index, &object.attrs);
        }
        put_u32(&mut self.index, table.flowtables.len() as u32);
        for (name, flowtable) in &table.flowtables {
            put_bytes(&mut self.index, &name.0);
            put_bytes(&mut self.index, &flowtable.attrs);
        }
        put_u32(&mut self.index, table.anonymous.sets.len() as u32);
        for (name, set) in &table.anonymous.sets {
            put_bytes(&mut self.index, &name.0);
            self.set_head(set);
            self.place()?;
            put_elements(&mut self.bodies, set);
        }
        put_u32(&mut self.index, table.anonymous.chains.len() as u32);
        for (name, chain) in &table.anonymous.chains {
            put_bytes(&mut self.index, &name.0);
            self.place()?;
            put_bytes(&mut self.bodies, &chain.attrs);
            put_u32(&mut self.bodies, chain.rules.len() as u32);
            for rule in &chain.rules {
                self.bodies.extend_from_slice(&rule.digest.0);
                put_bytes(&mut self.bodies, &rule.attrs);
            }
        }
        Some(())
    }

    fn set_head(&mut self, set: &Set) {
        let Set { flags, attrs, elements: _, written_by_rules, order: _ } = set;
        put_u32(&mut self.index, *flags);
        self.index.push(u8::from(*written_by_rules));
        put_bytes(&mut self.index, attrs);
    }

    /// Where the next body will be.
    fn place(&mut self) -> Option<()> {
        put_u32(&mut self.index, u32::try_from(self.bodies.len()).ok()?);
        Some(())
    }
}

/// The digests of a set's netlink elements, if it is compared by them: if its elements are there to stay.
fn member_digests(key: &TableKey, set: &Set) -> Option<Vec<Digest>> {
    let lasting = key.backend == Backend::NfTables
        && !set.is_dynamic()
        && set.flags & F_TIMEOUT == 0
        && set.elements.values().all(|element| !element.expires);
    lasting.then(|| {
        let all = set.elements.values().flat_map(|element| &element.attrs);
        let mut digests: Vec<Digest> = all.map(|attrs| Digest::of([&attrs[..]])).collect();
        digests.sort_unstable();
        digests
    })
}

fn put_elements(out: &mut Vec<u8>, set: &Set) {
    put_u32(out, set.elements.len() as u32);
    for (key, element) in &set.elements {
        put_key(out, key);
        out.push(u8::from(element.expires));
        put_u32(out, element.attrs.len() as u32);
        element.attrs.iter().for_each(|attrs| put_bytes(out, attrs));
    }
    put_u32(out, set.order.len() as u32);
    set.order.iter().for_each(|key| put_key(out, key));
}

fn put_key(out: &mut Vec<u8>, key: &ElementKey) {
    put_bytes(out, &key.key);
    put_bytes(out, &key.end);
    put_u32(out, key.flags);
}

/// The number of a backend in the index.
pub fn backend_number(backend: Backend) -> u8 {
    match backend {
        Backend::NfTables => 0,
        Backend::Legacy => 1,
        Backend::Ipset => 2,
        Backend::Sysctl => 3,
        Backend::Bpf => 4,
    }
}
