//! A ruleset in canonical form: what is compared, and nothing that moves by itself.
//!
//! Role: the output of `normalise`. Tables, chains, sets and objects are keyed by name, because the
//! kernel gives their order no meaning; rules are a sequence; elements are a set. Equal digests mean
//! equal bytes. Handles are renumbered on every reload, so identity uses names and digests.

use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// A kernel name or text as bytes: nothing guarantees that it is UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub Vec<u8>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_from_kernel(&self.0))
    }
}

/// Kernel bytes as text: bytes that are not UTF-8 become `\xNN`. Control characters stay; they are
/// escaped where a text is shown.
pub fn text_from_kernel(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A protocol family, with the kernel's number and nft's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// NFPROTO_INET.
    Inet,
    /// NFPROTO_IPV4.
    Ip,
    /// NFPROTO_IPV6.
    Ip6,
    /// NFPROTO_ARP.
    Arp,
    /// NFPROTO_BRIDGE.
    Bridge,
    /// NFPROTO_NETDEV.
    Netdev,
    /// NFPROTO_UNSPEC: of what belongs to no family (a kernel setting).
    Unspec,
}

impl Family {
    /// Those that tables have.
    pub const ALL: [Self; 6] = [Self::Inet, Self::Ip, Self::Ip6, Self::Arp, Self::Bridge, Self::Netdev];

    /// The name that nft uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Unspec => "unspec",
        }
    }

    /// `NFPROTO_*` (linux/netfilter.h).
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Netdev => 5,
            Self::Bridge => 7,
            Self::Ip6 => 10,
            Self::Unspec => 0,
        }
    }

    /// The family of a `nfgen_family`.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.number() == number)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which kernel interface a table lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// nf_tables; contents are netlink attributes.
    NfTables,
    /// x_tables; contents are lines of `iptables-legacy-save`.
    Legacy,
    /// ipset: sets with their members, in the one table that [`TableKey::of_all`] names.
    Ipset,
    /// Kernel settings that change what rules mean: objects whose `attrs` are the value.
    Sysctl,
    /// BPF programs that see packets before or beside netfilter: objects whose `attrs` say what they are.
    Bpf,
}

impl Backend {
    /// Those without tables of their own: all that they hold is in one table, which is always there.
    pub const WITHOUT_TABLES: [Self; 3] = [Self::Ipset, Self::Sysctl, Self::Bpf];

    /// Whether it has tables, which may be there or not.
    pub fn has_tables(self) -> bool {
        !Self::WITHOUT_TABLES.contains(&self)
    }
}

/// What names a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// nf_tables or x_tables.
    pub backend: Backend,
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: Name,
}

impl TableKey {
    /// The one table of a backend that has none.
    pub fn of_all(backend: Backend) -> Self {
        Self { backend, family: Family::Unspec, name: Name::default() }
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// The first 128 bits of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Of several byte strings; their lengths are part of it, so that borders cannot shift.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let full = hash.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Self(short)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All that one namespace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Tables by name.
    pub tables: BTreeMap<TableKey, Table>,
    /// Interface index to name at the time of capture: rules that match an index need it to be read.
    pub interfaces: BTreeMap<u32, Vec<u8>>,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Flags and comment, as netlink attributes; empty for legacy tables.
    pub attrs: Vec<u8>,
    /// Chains by name, without those that belong to one rule.
    pub chains: BTreeMap<Name, Chain>,
    /// Named sets and maps.
    pub sets: BTreeMap<Name, Set>,
    /// Stateful objects by type (`NFT_OBJECT_*`) and name.
    pub objects: BTreeMap<(u32, Name), Object>,
    /// Flowtables by name.
    pub flowtables: BTreeMap<Name, Object>,
    /// What belongs to single rules; its names are not stable, so it is folded into their digests.
    pub anonymous: Anonymous,
}

/// Sets and chains that the kernel named itself (`__set3`, `__chain1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anonymous {
    /// Anonymous sets and maps.
    pub sets: BTreeMap<Name, Set>,
    /// Chains bound to one rule (`jump { … }`).
    pub chains: BTreeMap<Name, Chain>,
}

/// One chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Hook, priority, type, policy, devices, flags, comment; for a legacy table, the policy's word.
    pub attrs: Vec<u8>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of the canonical bytes: the same for the same rule in any namespace with the same interfaces.
    pub digest: Digest,
    /// Expressions and user data as netlink attributes, volatile parts removed; for a legacy table, the
    /// line of the save format. Empty in an outline, where the digest stands for it. Rulesets that are kept side by side may
    /// share them ([`Ruleset::share`]).
    pub attrs: Arc<[u8]>,
}

/// One named or anonymous set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// `NFT_SET_*` flags.
    pub flags: u32,
    /// The definition, as netlink attributes.
    pub attrs: Vec<u8>,
    /// Its elements by identity.
    pub elements: BTreeMap<ElementKey, Element>,
    /// Whether a rule adds or deletes elements (`update @set { … }`, `-j SET`).
    pub written_by_rules: bool,
    /// The order of the elements, where it means something: in a `list:set` of ipset. Empty in all others.
    pub order: Vec<ElementKey>,
}

/// What makes an element the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementKey {
    /// The start of the interval, or the only value.
    pub key: Vec<u8>,
    /// The end of the interval as the kernel stores it; empty where there is none.
    pub end: Vec<u8>,
    /// `NFT_SET_ELEM_*` flags.
    pub flags: u32,
}

/// The rest of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Whether it expires: its absence is then not a change.
    pub expires: bool,
    /// One or two netlink elements (an interval has a start and an end).
    pub attrs: Vec<Vec<u8>>,
}

/// A stateful object or a flowtable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// The definition, as netlink attributes, state removed.
    pub attrs: Vec<u8>,
}

impl Ruleset {
    /// A digest of the whole ruleset, independent of handles, counters and order of creation.
    pub fn digest(&self) -> Digest {
        let parts: Vec<Digest> = self
            .tables
            .iter()
            .map(|(key, table)| {
                let backend = [key.backend as u8, key.family.number()];
                Digest::of([&backend[..], &key.name.0, &table.digest().0])
            })
            .collect();
        Digest::of(parts.iter().map(|part| &part.0[..]))
    }
}

impl Ruleset {
    /// Lets rules share their bytes with equal ones of the same chain of another ruleset.
    pub fn share(&mut self, other: &Self) {
        for (key, table) in &mut self.tables {
            let Some(theirs) = other.tables.get(key) else { continue };
            for (name, chain) in &mut table.chains {
                let known = theirs.chains.get(name).into_iter().flat_map(|chain| &chain.rules);
                let known: HashMap<&[u8], &Arc<[u8]>> =
                    known.map(|rule| (&rule.attrs[..], &rule.attrs)).collect();
                for rule in &mut chain.rules {
                    if let Some(attrs) = known.get(&rule.attrs[..]) {
                        rule.attrs = Arc::clone(attrs);
                    }
                }
            }
        }
    }
}

impl Table {
    /// A digest of all that the table holds.
    pub fn digest(&self) -> Digest {
        let mut parts = vec![Digest::of([&self.attrs[..]])];
        for (name, chain) in &self.chains {
            parts.push(Digest::of([&b"chain"[..], &name.0, &chain.attrs]));
            parts.extend(chain.rules.iter().map(|rule| rule.digest));
        }
        for (name, set) in &self.sets {
            parts.push(Digest::of([&b"set"[..], &name.0, &set.attrs]));
            parts.extend(set.lasting_elements().map(|(key, element)| element.digest(key)));
            parts.extend(set.lasting_order().map(|key| Digest::of([&b"next"[..], &key.key])));
        }
        for ((kind, name), object) in &self.objects {
            parts.push(Digest::of([&b"object"[..], &kind.to_le_bytes(), &name.0, &object.attrs]));
        }
        for (name, flowtable) in &self.flowtables {
            parts.push(Digest::of([&b"flowtable"[..], &name.0, &flowtable.attrs]));
        }
        Digest::of(parts.iter().map(|part| &part.0[..]))
    }

    /// All rules, also those of chains that belong to other rules.
    pub fn rules_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        self.chains.values_mut().chain(self.anonymous.chains.values_mut()).flat_map(|chain| &mut chain.rules)
    }

    /// How many rules its chains hold.
    pub fn rule_count(&self) -> usize {
        self.chains.values().map(|chain| chain.rules.len()).sum()
    }
}

impl Set {
    /// Whether the packet path may add or delete elements: `flags dynamic`, or a rule that does so. The
    /// kernel lets rules write to sets without the flag, too, if they have timeouts (nft_dynset.c asks only
    /// whether the set's backend can do it).
    pub fn is_dynamic(&self) -> bool {
        self.flags & crate::netlink::nft::set::F_EVAL != 0 || self.written_by_rules
    }

    /// Whether it maps keys to data, verdicts or objects.
    pub fn is_map(&self) -> bool {
        use crate::netlink::nft::set::{F_MAP, F_OBJECT};
        self.flags & (F_MAP | F_OBJECT) != 0
    }

    /// Whether the elements that last on both sides stand in another order. Where the packet path decides on the
    /// elements, it decides on their order.
    pub fn has_other_order(&self, other: &Self) -> bool {
        let common = |one: &'_ Self, two: &Self| -> Vec<ElementKey> {
            one.lasting_order().filter(|key| two.elements.contains_key(*key)).cloned().collect()
        };
        !self.is_dynamic() && !other.is_dynamic() && common(self, other) != common(other, self)
    }

    /// The [`Set::order`] of the [`Set::lasting_elements`].
    pub fn lasting_order(&self) -> impl Iterator<Item = &ElementKey> {
        let dynamic = self.is_dynamic();
        let lasts = move |key: &&ElementKey| {
            !dynamic && self.elements.get(*key).is_some_and(|element| !element.expires)
        };
        self.order.iter().filter(lasts)
    }

    /// The elements whose presence somebody decided: none of a dynamic set, none that expires.
    pub fn lasting_elements(&self) -> impl Iterator<Item = (&ElementKey, &Element)> {
        let dynamic = self.is_dynamic();
        self.elements.iter().filter(move |(_, element)| !dynamic && !element.expires)
    }
}

impl Element {
    /// A digest of identity and content.
    pub fn digest(&self, key: &ElementKey) -> Digest {
        let flags = key.flags.to_le_bytes();
        Digest::of([&key.key[..], &key.end, &flags].into_iter().chain(self.attrs.iter().map(|a| &a[..])))
    }
}
