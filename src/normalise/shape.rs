//! Which tables iptables-nft and its siblings made, and which rules hold xt extensions. Pure.

use super::anonymous::{expressions, references};
use crate::model::{Backend, Chain, Digest, Family, Rule, Table, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::{chain, expr, rule};

/// A chain that a tool makes by itself: name, hook number, priority.
type BuiltinChain = (&'static str, u32, i32);
type BuiltinTable = (&'static str, &'static [BuiltinChain]);

/// iptables' tables, from linux/netfilter_ipv4.h and iptables/nft.c.
const IPTABLES: [BuiltinTable; 5] = [
    ("filter", &[("INPUT", 1, 0), ("FORWARD", 2, 0), ("OUTPUT", 3, 0)]),
    ("raw", &[("PREROUTING", 0, -300), ("OUTPUT", 3, -300)]),
    (
        "mangle",
        &[
            ("PREROUTING", 0, -150),
            ("INPUT", 1, -150),
            ("FORWARD", 2, -150),
            ("OUTPUT", 3, -150),
            ("POSTROUTING", 4, -150),
        ],
    ),
    ("nat", &[("PREROUTING", 0, -100), ("INPUT", 1, 100), ("OUTPUT", 3, -100), ("POSTROUTING", 4, 100)]),
    ("security", &[("INPUT", 1, 50), ("FORWARD", 2, 50), ("OUTPUT", 3, 50)]),
];
/// arptables' table; hooks from linux/netfilter_arp.h.
const ARPTABLES: [BuiltinTable; 1] = [("filter", &[("INPUT", 0, 0), ("OUTPUT", 1, 0)])];
/// ebtables' tables; priorities from linux/netfilter_bridge.h. iptables 1.8.10 and later know broute.
const EBTABLES: [BuiltinTable; 3] = [
    ("filter", &[("INPUT", 1, -200), ("FORWARD", 2, -200), ("OUTPUT", 3, -200)]),
    ("nat", &[("PREROUTING", 0, -300), ("OUTPUT", 3, 100), ("POSTROUTING", 4, 300)]),
    ("broute", &[("BROUTING", 0, i32::MIN)]),
];

fn builtin(family: Family) -> &'static [BuiltinTable] {
    match family {
        Family::Ip | Family::Ip6 => &IPTABLES,
        Family::Arp => &ARPTABLES,
        Family::Bridge => &EBTABLES,
        _ => &[],
    }
}

/// Whether a table is one that iptables-nft, arptables-nft or ebtables-nft (by its family) would call its own:
/// its name, its base chains at its hooks and priorities, and nothing that the tool has no word for.
pub fn is_iptables_shaped(key: &TableKey, table: &Table) -> bool {
    let known = builtin(key.family).iter().find(|(name, _)| name.as_bytes() == key.name.0);
    let Some((_, builtin)) = known else { return false };
    let mut base = table.chains.iter().filter_map(|(name, chain)| Some((name, hook(chain)?))).peekable();
    key.backend == Backend::NfTables
        && table.sets.is_empty()
        && table.objects.is_empty()
        && table.flowtables.is_empty()
        && base.peek().is_some()
        && base.all(|(name, (number, priority))| {
            builtin.iter().any(|b| b.0.as_bytes() == name.0 && b.1 == number && b.2 == priority)
        })
}

/// Whether a rule is what ebtables-nft writes for the policy of a chain of the user's own: the last rule of the
/// chain, marked in its user data (iptables/nft.c `nft_is_ebtables_policy`, `UDATA_TYPE_EBTABLES_POLICY`).
pub fn is_ebtables_policy(rule: &Rule) -> bool {
    const POLICY: u8 = 1;
    let data = Attrs(&rule.attrs).find(rule::USERDATA).map_or(&[][..], |data| data.payload);
    // Type, length, and a 32-bit number that is not 0.
    matches!(data, [POLICY, 4, value @ ..] if value.len() == 4 && value.iter().any(|byte| *byte != 0))
}

/// Whether a base chain of a table that iptables-nft made does nothing: it accepts, and has no rules. iptables-nft
/// makes such chains when it first needs one, and prints and restores them as if they had always been there.
pub fn is_idle(chain: &Chain) -> bool {
    const NF_ACCEPT: u32 = 1;
    let attrs = Attrs(&chain.attrs);
    let accepts = attrs.find(chain::POLICY).and_then(|policy| policy.be32()) == Some(NF_ACCEPT);
    accepts && chain.rules.is_empty() && hook(chain).is_some() && attrs.find(chain::USERDATA).is_none()
}

/// A base chain's hook number and priority.
fn hook(chain: &Chain) -> Option<(u32, i32)> {
    let hook = Attrs(&chain.attrs).find(chain::HOOK)?.nested();
    let number = hook.find(chain::HOOK_NUM)?.be32()?;
    let priority = hook.find(chain::HOOK_PRIORITY)?.be32()?;
    Some((number, priority.cast_signed()))
}

/// `NFT_META_*` keys whose values are names (linux/netfilter/nf_tables.h).
const META_NAMES: [u32; 7] = [6, 7, 17, 18, 26, 27, 34];

/// `NFT_CT_HELPER`, `NFT_FIB_RESULT_OIFNAME`, and where the two expressions have such a number.
const CT_HELPER: u32 = 6;
const FIB_OIFNAME: u32 = 2;
const CT_KEY: u16 = 2;
const FIB_RESULT: u16 = 2;

/// `NFT_META_IIF`, `NFT_META_OIF`, `NFT_META_SDIF`: keys whose values are indices of interfaces.
pub const META_INDEX_KEYS: [u32; 3] = [4, 5, 33];

/// Whether a rule may hold the index of an interface, by itself or in a set that it uses.
pub fn loads_interface(rule: &Rule) -> bool {
    let loads = |expression: Attrs<'_>| match expression.find(expr::NAME).map(|name| name.string()) {
        Some(b"meta") => {
            let key = expression.find(expr::DATA).and_then(|data| data.nested().find(expr::META_KEY)?.be32());
            key.is_none_or(|key| META_INDEX_KEYS.contains(&key))
        }
        Some(b"fib" | b"dup" | b"fwd") | None => true,
        _ => false,
    };
    !references(&rule.attrs).is_empty() || expressions(&rule.attrs).any(loads)
}

/// Whether nft's text of a rule leaves out what the kernel compares: of many xt extensions it prints the
/// name only, and of a name (of an interface, a helper, an operating system) what stands before the first NUL,
/// while the kernel compares all of its bytes.
pub fn hides_bytes(rule: &Rule) -> bool {
    let mut name_loaded = false;
    for expression in expressions(&rule.attrs) {
        let data = expression.find(expr::DATA).map(|data| data.nested());
        let number = |kind| data.and_then(|data| data.find(kind)?.be32());
        match expression.find(expr::NAME).map(|name| name.string()) {
            Some(b"match" | b"target") => return true,
            Some(b"meta") => {
                name_loaded = number(expr::META_KEY).is_some_and(|key| META_NAMES.contains(&key))
            }
            Some(b"ct") => name_loaded = number(CT_KEY) == Some(CT_HELPER),
            Some(b"fib") => name_loaded = number(FIB_RESULT) == Some(FIB_OIFNAME),
            Some(b"osf") => name_loaded = true,
            Some(b"cmp") if name_loaded => {
                let value = data.and_then(|data| data.find(expr::CMP_DATA)?.nested().find(expr::DATA_VALUE));
                let unprinted = value.map_or(&[][..], |value| &value.payload[value.string().len()..]);
                if unprinted.iter().any(|byte| *byte != 0) {
                    return true;
                }
            }
            // Another value, or none.
            _ => name_loaded = false,
        }
    }
    false
}

/// A digest of the keys of all anonymous sets that a rule uses; none if it uses none. However else two writers
/// encode such a set, the same keys have the same bytes. A text shows less: not the padding between the fields of
/// a concatenation, nor what follows a name's first NUL; and with any other byte there, an element never matches.
pub fn keys_of_own_sets(table: &Table, rule: &Rule) -> Option<Digest> {
    let sets = references(&rule.attrs).into_iter().filter_map(|name| table.anonymous.sets.get(&name));
    let keys = sets.flat_map(|set| set.lasting_elements());
    let keys: Vec<&[u8]> = keys.flat_map(|(key, _)| [&key.key[..], &key.end[..]]).collect();
    (!keys.is_empty()).then(|| Digest::of(keys))
}
