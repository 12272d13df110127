//! Which attributes of each nf_tables object are definition and which are state.
//!
//! The lists are of what to *drop*: an attribute that a newer kernel adds is kept, and at worst
//! reported, never silently ignored. Schemas: net/netfilter/nf_tables_api.c and nft_*.c (`*_dump`).

use crate::netlink::nft::{self, chain, elem, expr, flowtable, object, rule, set, table};
use crate::netlink::{AttrWriter, Attrs, Malformed};

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
pub fn rule(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    use rule::*;
    stateless(attrs, &[TABLE, CHAIN, HANDLE, POSITION, PAD], None, EXPRESSIONS)
}

/// A set's definition.
pub fn set(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    use set::*;
    stateless(attrs, &[TABLE, NAME, HANDLE, COUNT, TYPE, PAD, ID], Some(EXPR), EXPRESSIONS)
}

/// A set element without its expiry time and its counters.
pub fn element(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    use elem::*;
    stateless(attrs, &[EXPIRATION, PAD], Some(EXPR), EXPRESSIONS)
}

/// What is left without the `dropped` attributes and without the state of its expressions.
fn stateless(
    attrs: Attrs<'_>,
    dropped: &[u16],
    expression: Option<u16>,
    expressions: u16,
) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            kind if dropped.contains(&kind) => {}
            kind if Some(kind) == expression => put_expression(&mut out, kind, attr.nested())?,
            kind if kind == expressions => put_expressions(&mut out, kind, attr.nested())?,
            kind => {
                out.put(kind, attr.payload);
            }
        }
    }
    Ok(out.into_bytes())
}

/// A stateful object's definition: its data without what it has counted.
pub fn object(attrs: Attrs<'_>, kind: u32) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            object::TABLE | object::NAME | object::USE | object::HANDLE | object::PAD => {}
            object::DATA => {
                let data = match kind {
                    object::T_COUNTER => Vec::new(),
                    object::T_QUOTA => quota(attr.nested())?,
                    _ => attr.payload.to_vec(),
                };
                out.nested(object::DATA, |inner| {
                    inner.raw(&data);
                });
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

fn put_expressions(out: &mut AttrWriter, kind: u16, list: Attrs<'_>) -> Result<(), Malformed> {
    let mut inner = AttrWriter::new();
    for element in list {
        put_expression(&mut inner, nft::LIST_ELEM, element?.nested())?;
    }
    out.nested(kind, |nested| {
        nested.raw(inner.as_bytes());
    });
    Ok(())
}

/// One expression: its name, and its data without state.
fn put_expression(out: &mut AttrWriter, kind: u16, attrs: Attrs<'_>) -> Result<(), Malformed> {
    let name = attrs.find(expr::NAME).ok_or(Malformed)?;
    let data = attrs.find(expr::DATA);
    let stripped = match (name.string(), data) {
        (_, None) => None,
        (b"counter" | b"last", Some(_)) => Some(Vec::new()),
        (b"quota", Some(data)) => Some(quota(data.nested())?),
        (b"dynset", Some(data)) => Some(dynset(data.nested())?),
        (_, Some(data)) => Some(data.payload.to_vec()),
    };
    out.nested(kind, |nested| {
        nested.put(expr::NAME, name.payload);
        if let Some(data) = stripped {
            nested.nested(expr::DATA, |inner| {
                inner.raw(&data);
            });
        }
    });
    Ok(())
}

/// A quota without what it has consumed, and without the flag that says it is used up.
fn quota(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
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
    Ok(out.into_bytes())
}

/// A dynset's own expressions hold counters and quotas, too. A timeout of 0 is dumped also where none
/// was given (nft_dynset.c), and refused when it is sent for a set without the timeout flag.
fn dynset(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    let mut out = AttrWriter::new();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            expr::DYNSET_TIMEOUT if attr.payload.iter().all(|byte| *byte == 0) => {}
            expr::DYNSET_EXPR => put_expression(&mut out, attr.kind, attr.nested())?,
            expr::DYNSET_EXPRESSIONS => put_expressions(&mut out, attr.kind, attr.nested())?,
            kind => {
                out.put(kind, attr.payload);
            }
        }
    }
    Ok(out.into_bytes())
}
