//! Reads the index of the stored form: everything but the bodies.

use super::write::backend_number;
use super::{Places, TablePlaces};
use crate::model::bytes::Unreadable;
use crate::model::{Backend, Chain, Digest, Family, Name, Object, Outline, Rule, Set, Table, TableKey};
use std::io::{BufReader, Read};
use std::sync::Arc;

/// An outline, and where the rest of each of its objects is.
pub fn read(from: impl Read) -> Result<(Outline, Places), Unreadable> {
    let mut index = IndexReader { from: BufReader::with_capacity(64 * 1024, from) };
    let (mut outline, mut places) = (Outline::default(), Places::default());
    outline.state = Some(index.digest()?);
    for _ in 0..index.u32()? {
        outline.ruleset.interfaces.insert(index.u32()?, index.bytes()?);
    }
    for _ in 0..index.u32()? {
        let backend = backend_of(index.byte()?)?;
        let number = index.byte()?;
        let family =
            if number == 0 { Family::Unspec } else { Family::from_number(number).ok_or(Unreadable)? };
        let key = TableKey { backend, family, name: index.name()? };
        let table = read_table(&mut index, &key, &mut outline, places.entry(key.clone()).or_default())?;
        outline.ruleset.tables.insert(key, table);
    }
    Ok((outline, places))
}

fn read_table<R: Read>(
    index: &mut IndexReader<R>,
    key: &TableKey,
    outline: &mut Outline,
    places: &mut TablePlaces,
) -> Result<Table, Unreadable> {
    let mut table = Table { attrs: index.bytes()?, ..Table::default() };
    for _ in 0..index.u32()? {
        let name = index.name()?;
        let attrs = index.bytes()?;
        let count = index.u32()? as usize;
        // A damaged count must not ask for all memory.
        let room = count.min(1 << 20);
        let (mut rules, mut found) = (Vec::with_capacity(room), Vec::with_capacity(room));
        for _ in 0..count {
            rules.push(Rule { digest: index.digest()?, attrs: Arc::default() });
            found.push(index.u32()?);
        }
        places.rules.insert(name.clone(), found.into_boxed_slice());
        table.chains.insert(name, Chain { attrs, rules });
    }
    for _ in 0..index.u32()? {
        let (name, set) = (index.name()?, read_set_head(index)?);
        let by_digest = index.byte()? != 0;
        let mut digests = Vec::new();
        for _ in 0..index.u32()? {
            digests.push(index.digest()?);
        }
        if by_digest {
            outline.elements.insert((key.clone(), name.clone()), digests);
        }
        places.elements.insert(name.clone(), index.u32()?);
        table.sets.insert(name, set);
    }
    for _ in 0..index.u32()? {
        let (kind, name) = (index.u32()?, index.name()?);
        table.objects.insert((kind, name), Object { attrs: index.bytes()? });
    }
    for _ in 0..index.u32()? {
        let name = index.name()?;
        table.flowtables.insert(name, Object { attrs: index.bytes()? });
    }
    for _ in 0..index.u32()? {
        let (name, set) = (index.name()?, read_set_head(index)?);
        places.anonymous_sets.insert(name.clone(), index.u32()?);
        table.anonymous.sets.insert(name, set);
    }
    for _ in 0..index.u32()? {
        let name = index.name()?;
        places.anonymous_chains.insert(name, index.u32()?);
    }
    Ok(table)
}

fn read_set_head<R: Read>(index: &mut IndexReader<R>) -> Result<Set, Unreadable> {
    let (flags, written_by_rules) = (index.u32()?, index.byte()? != 0);
    Ok(Set { flags, written_by_rules, attrs: index.bytes()?, ..Set::default() })
}

fn backend_of(number: u8) -> Result<Backend, Unreadable> {
    [Backend::NfTables, Backend::Legacy, Backend::Ipset, Backend::Sysctl, Backend::Bpf]
        .into_iter()
        .find(|backend| backend_number(*backend) == number)
        .ok_or(Unreadable)
}

/// Reads the index as it comes from the disk, without holding it.
struct IndexReader<R> {
    from: BufReader<R>,
}

impl<R: Read> IndexReader<R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|_| Unreadable)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn digest(&mut self) -> Result<Digest, Unreadable> {
        Ok(Digest(self.take()?))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Unreadable> {
        let length = u64::from(self.u32()?);
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes).map_err(|_| Unreadable)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(Unreadable) }
    }

    fn name(&mut self) -> Result<Name, Unreadable> {
        Ok(Name(self.bytes()?))
    }
}
