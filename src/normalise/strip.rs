//! Which attributes of each nf_tables object are definition and which are state.
//!
//! The lists are of what to *drop*: an attribute that a newer kernel adds is kept, and at worst
//! reported, never silently ignored. Schemas: net/netfilter/nf_tables_api.c and nft_*.c (`*_dump`). What the kernel
//! makes no use of in xt extensions: `xt_info`.

use super::xt_info;
use crate::model::Family;
use crate::netlink::nft::{self, chain, elem, expr, flowtable, object, rule, set, table};
use crate::netlink::{Attr, AttrWriter, Attrs, Malformed};

/// `NFT_QUOTA_F_DEPLETED`: set by the kernel once a quota is used up.
const QUOTA_F_DEPLETED: u32 = 1 << 1;
const QUOTA_FLAGS: u16 = 2;

/// A table without its name, use count, handle and owner's port id.
pub fn table(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    without(attrs, &[table::NAME, table::USE, table::HANDLE, table::PAD, table::OWNER])
}

/// A chain without its names, handle, use count and counters.
pub fn chain(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    use chain::*;
    without(attrs, &[TABLE, NAME, HANDLE, USE, COUNTERS, PAD, ID])
}

/// A rule's expressions, without their state, and its user data.
pub fn rule(family: Family, attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    rule_into(&mut out, family, attrs)?;
    Ok(out.into_bytes())
}

/// As [`rule`], into a writer that is used again and again.
pub fn rule_into(out: &mut AttrWriter, family: Family, attrs: Attrs<'_>) -> Result<(), Malformed> {
    use rule::*;
    stateless(out, family, attrs, &[TABLE, CHAIN, HANDLE, POSITION, PAD], None, EXPRESSIONS)
}

/// A set's definition.
pub fn set(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    use set::*;
    let mut out = AttrWriter::new();
    let dropped = [TABLE, NAME, HANDLE, COUNT, TYPE, PAD, ID];
    stateless(&mut out, Family::Unspec, attrs, &dropped, Some(EXPR), EXPRESSIONS)?;
    Ok(out.into_bytes())
}

/// A set element without its expiry time and its counters.
pub fn element(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    element_into(&mut out, attrs)?;
    Ok(out.into_bytes())
}

/// As [`element`], into a writer that is used again and again.
pub fn element_into(out: &mut AttrWriter, attrs: Attrs<'_>) -> Result<(), Malformed> {
    use elem::*;
    stateless(out, Family::Unspec, attrs, &[EXPIRATION, PAD], Some(EXPR), EXPRESSIONS)
}

/// Writes what is left without the `dropped` attributes and without the state of its expressions. The family matters
/// to xt extensions, which only rules have.
fn stateless(
    out: &mut AttrWriter,
    family: Family,
    attrs: Attrs<'_>,
    dropped: &[u16],
    expression: Option<u16>,
    expressions: u16,
) -> Result<(), Malformed> {
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            kind if dropped.contains(&kind) => {}
            kind if Some(kind) == expression => put_expression(out, family, kind, attr.nested())?,
            kind if kind == expressions => put_expressions(out, family, kind, attr.nested())?,
            kind => {
                out.put(kind, attr.payload);
            }
        }
    }
    Ok(())
}

/// A stateful object's definition: its data without what it has counted.
pub fn object(attrs: Attrs<'_>, kind: u32) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            object::TABLE | object::NAME | object::USE | object::HANDLE | object::PAD => {}
            object::DATA => {
                out.try_nested(object::DATA, |inner| match kind {
                    object::T_COUNTER => Ok(()),
                    object::T_QUOTA => quota(inner, attr.nested()),
                    _ => {
                        inner.raw(attr.payload);
                        Ok(())
                    }
                })?;
            }
            kind => {
                out.put(kind, attr.payload);
            }
        }
    }
    Ok(out.into_bytes())
}

/// A flowtable without its names, use count and handle.
pub fn flowtable(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    use flowtable::*;
    without(attrs, &[TABLE, NAME, USE, HANDLE, PAD])
}

fn without(attrs: Attrs<'_>, dropped: &[u16]) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    for attr in attrs {
        let attr = attr?;
        if !dropped.contains(&attr.kind) {
            out.put(attr.kind, attr.payload);
        }
    }
    Ok(out.into_bytes())
}

fn put_expressions(
    out: &mut AttrWriter,
    family: Family,
    kind: u16,
    list: Attrs<'_>,
) -> Result<(), Malformed> {
    out.try_nested(kind, |inner| {
        let put = |element: Attr<'_>, inner: &mut AttrWriter| {
            put_expression(inner, family, nft::LIST_ELEM, element.nested())
        };
        list.into_iter().try_for_each(|element| put(element?, inner))
    })
}

/// One expression: its name, and its data without state.
fn put_expression(
    out: &mut AttrWriter,
    family: Family,
    kind: u16,
    attrs: Attrs<'_>,
) -> Result<(), Malformed> {
    let name = attrs.find(expr::NAME).ok_or(Malformed)?;
    let data = attrs.find(expr::DATA);
    out.try_nested(kind, |nested| {
        nested.put(expr::NAME, name.payload);
        let Some(data) = data else { return Ok(()) };
        nested.try_nested(expr::DATA, |inner| match name.string() {
            b"counter" | b"last" => Ok(()),
            b"quota" => quota(inner, data.nested()),
            b"dynset" => dynset(inner, data.nested()),
            b"match" | b"target" => extension(inner, family, data.nested()),
            _ => {
                inner.raw(data.payload);
                Ok(())
            }
        })
    })
}

/// A quota without what it has consumed, and without the flag that says it is used up.
fn quota(out: &mut AttrWriter, attrs: Attrs<'_>) -> Result<(), Malformed> {
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            expr::QUOTA_CONSUMED => {}
            QUOTA_FLAGS => {
                out.be32(QUOTA_FLAGS, attr.be32().ok_or(Malformed)? & !QUOTA_F_DEPLETED);
            }
            kind => {
                out.put(kind, attr.payload);
            }
        }
    }
    Ok(())
}

/// A dynset's own expressions hold counters and quotas, too. A timeout of 0 is dumped also where none
/// was given (nft_dynset.c), and refused when it is sent for a set without the timeout flag.
fn dynset(out: &mut AttrWriter, attrs: Attrs<'_>) -> Result<(), Malformed> {
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            expr::DYNSET_TIMEOUT if attr.payload.iter().all(|byte| *byte == 0) => {}
            expr::DYNSET_EXPR => put_expression(out, Family::Unspec, attr.kind, attr.nested())?,
            expr::DYNSET_EXPRESSIONS => put_expressions(out, Family::Unspec, attr.kind, attr.nested())?,
            kind => {
                out.put(kind, attr.payload);
            }
        }
    }
    Ok(())
}

/// An xt match or target without what the kernel does not read of it.
fn extension(out: &mut AttrWriter, family: Family, data: Attrs<'_>) -> Result<(), Malformed> {
    let neutral = || {
        let (name, info) = (data.find(expr::XT_NAME)?, data.find(expr::XT_INFO)?);
        xt_info::neutral(family, name.string(), data.find(expr::XT_REV)?.be32()?, info.payload)
    };
    let Some(info) = neutral() else {
        out.raw(data.0);
        return Ok(());
    };
    for attr in data {
        let attr = attr?;
        out.put(attr.kind, if attr.kind == expr::XT_INFO { &info } else { attr.payload });
    }
    Ok(())
}
