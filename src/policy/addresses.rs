//! Sets of addresses, as ranges; and one address, prefix or range as it is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of one side of a flow. The ranges are inclusive, in order, and neither meet nor touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4, in the host's byte order.
    pub v4: Vec<(u32, u32)>,
    /// IPv6, in the host's byte order.
    pub v6: Vec<(u128, u128)>,
    /// The host's own addresses, whatever they are; then there are no ranges.
    pub this_host: bool,
    /// All addresses, of both families; then the ranges are those.
    pub any: bool,
}

impl Addresses {
    /// All addresses.
    pub fn any() -> Self {
        Self { v4: vec![(0, u32::MAX)], v6: vec![(0, u128::MAX)], this_host: false, any: true }
    }

    /// The addresses of the host that is looked at.
    pub fn this_host() -> Self {
        Self { this_host: true, ..Self::default() }
    }

    /// Whether it can be an IPv4 address.
    pub fn has_v4(&self) -> bool {
        self.this_host || !self.v4.is_empty()
    }

    /// Whether it can be an IPv6 address.
    pub fn has_v6(&self) -> bool {
        self.this_host || !self.v6.is_empty()
    }

    /// What of `ranges` is in none of `others`.
    pub(super) fn without(mut self, others: &Self) -> Self {
        if others.v4.is_empty() && others.v6.is_empty() {
            return self;
        }
        (self.v4, self.v6, self.any) = (minus(&self.v4, &others.v4), minus(&self.v6, &others.v6), false);
        self
    }

    /// Both together.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.v4.extend(&other.v4);
        self.v6.extend(&other.v6);
        Self {
            v4: in_order(self.v4),
            v6: in_order(self.v6),
            this_host: self.this_host || other.this_host,
            any: self.any || other.any,
        }
    }

    pub(super) fn of(range: Range) -> Self {
        match range {
            Range::V4(low, high) => Self { v4: vec![(low, high)], ..Self::default() },
            Range::V6(low, high) => Self { v6: vec![(low, high)], ..Self::default() },
        }
    }
}

/// A number that addresses are.
pub(super) trait Number: Copy + Ord {
    fn next(self) -> Option<Self>;
    fn previous(self) -> Option<Self>;
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Number for u16 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

/// The ranges in order, those that meet or touch joined.
pub(super) fn in_order<N: Number>(mut ranges: Vec<(N, N)>) -> Vec<(N, N)> {
    ranges.sort_unstable();
    let mut joined: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match joined.last_mut() {
            // No number is behind the last one: then all that follows is within.
            Some((_, last)) if last.next().is_none_or(|next| low <= next) => *last = (*last).max(high),
            _ => joined.push((low, high)),
        }
    }
    joined
}

/// What of the ranges is not in `others`; both in order.
pub(super) fn minus<N: Number>(ranges: &[(N, N)], others: &[(N, N)]) -> Vec<(N, N)> {
    let mut left = Vec::new();
    for (low, high) in ranges {
        let mut begin = Some(*low);
        for (from, to) in others.iter().filter(|(from, to)| to >= low && from <= high) {
            let Some(start) = begin else { break };
            if let Some(before) = from.previous().filter(|before| *before >= start) {
                left.push((start, before));
            }
            begin = to.next();
        }
        left.extend(begin.filter(|start| start <= high).map(|start| (start, *high)));
    }
    left
}

/// The lowest number that is in both; both in order.
pub(super) fn lowest_common<N: Number>(one: &[(N, N)], other: &[(N, N)]) -> Option<N> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some((low, high)), Some((from, to))) = (one.peek(), other.peek()) {
        let start = *low.max(from);
        if start <= *high.min(to) {
            return Some(start);
        }
        if high < to {
            one.next()
        } else {
            other.next()
        };
    }
    None
}

/// One range, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

/// Why a text is not an address, a prefix or a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotARange {
    /// It does not look like one.
    NoAddress,
    /// It does, and is none: why, and what to write.
    Wrong(String, String),
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, and the same of IPv6.
pub(super) fn range(text: &str) -> Result<Range, NotARange> {
    if let Some((address, length)) = text.split_once('/') {
        return prefix(text, address, length);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(match address {
            IpAddr::V4(address) => Range::V4(address.into(), address.into()),
            IpAddr::V6(address) => Range::V6(address.into(), address.into()),
        });
    }
    let Some((low, high)) = text.split_once('-') else { return Err(NotARange::NoAddress) };
    match (low.trim().parse::<IpAddr>(), high.trim().parse::<IpAddr>()) {
        (Ok(low), Ok(high)) => between(low, high).ok_or_else(|| {
            let why = format!("\"{text}\" goes from {low} to {high}, which is not upwards within one family");
            NotARange::Wrong(why, "write the lower address first: `10.0.0.1-10.0.0.9`".to_owned())
        }),
        (Ok(low), Err(_)) => Err(NotARange::Wrong(
            format!("\"{text}\" begins with an address and does not end with one"),
            format!("write both ends whole: `{low}-{}`", last_of(low)),
        )),
        (Err(_), _) => Err(NotARange::NoAddress),
    }
}

/// An address above another, for an example.
fn last_of(low: IpAddr) -> &'static str {
    match low {
        IpAddr::V4(_) => "10.0.0.9",
        IpAddr::V6(_) => "2001:db8::9",
    }
}

fn between(low: IpAddr, high: IpAddr) -> Option<Range> {
    match (low, high) {
        (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => Some(Range::V4(low.into(), high.into())),
        (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => Some(Range::V6(low.into(), high.into())),
        _ => None,
    }
}

fn prefix(text: &str, address: &str, length: &str) -> Result<Range, NotARange> {
    let wrong = |why: &str, instead: &str| NotARange::Wrong(format!("\"{text}\" {why}"), instead.to_owned());
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(wrong("is no prefix: there is no address before the slash", "write `10.0.1.0/24`"));
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let is_plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let Some(length) = length.parse::<u32>().ok().filter(|length| is_plain && *length <= bits) else {
        let instead = "write the number of its bits, as in `10.0.1.0/24`; a netmask has no place here";
        return Err(wrong(&format!("is no prefix: its length is not 0 to {bits}"), instead));
    };
    let host_bits = bits - length;
    let (low, high) = match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shr(length).unwrap_or(0);
            let low = u32::from(address) & !mask;
            (IpAddr::V4(low.into()), Range::V4(low, low | mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shr(length).unwrap_or(0);
            let low = u128::from(address) & !mask;
            (IpAddr::V6(low.into()), Range::V6(low, low | mask))
        }
    };
    if low != address {
        let why = format!("has bits of a host: the last {host_bits} must be zero");
        return Err(wrong(
            &why,
            &format!("write `{low}/{length}` for the network, or `{address}` for the host"),
        ));
    }
    Ok(high)
}

/// An IPv4 address for people.
pub(super) fn v4(address: u32) -> String {
    Ipv4Addr::from(address).to_string()
}

/// An IPv6 address for people.
pub(super) fn v6(address: u128) -> String {
    Ipv6Addr::from(address).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: Range) {
        assert_eq!(range(text), Ok(expect));
    }

    #[test]
    fn addresses_prefixes_and_ranges_are_read() {
        check("10.0.3.5", Range::V4(0x0a00_0305, 0x0a00_0305));
        check("10.0.1.0/24", Range::V4(0x0a00_0100, 0x0a00_01ff));
        check("0.0.0.0/0", Range::V4(0, u32::MAX));
        check("10.0.0.1/32", Range::V4(0x0a00_0001, 0x0a00_0001));
        check("10.0.0.1-10.0.0.9", Range::V4(0x0a00_0001, 0x0a00_0009));
        check("10.0.0.1 - 10.0.0.9", Range::V4(0x0a00_0001, 0x0a00_0009));
        let doc = 0x2001_0db8_u128 << 96;
        check("2001:db8::/32", Range::V6(doc, doc | (u128::MAX >> 32)));
        check("::/0", Range::V6(0, u128::MAX));
        check("2001:db8::1-2001:db8::2", Range::V6(doc | 1, doc | 2));
    }

    #[test]
    fn what_is_no_range_says_what_to_write() {
        let check = |text: &str, why: &str, instead: &str| match range(text) {
            Err(NotARange::Wrong(found, write)) => {
                assert!(found.contains(why) && write.contains(instead), "{found}; {write}");
            }
            other => panic!("{text}: {other:?}"),
        };
        check("10.0.1.5/24", "bits of a host", "`10.0.1.0/24` for the network, or `10.0.1.5` for the host");
        check("10.0.1.0/33", "0 to 32", "number of its bits");
        check("10.0.1.0/255.255.255.0", "0 to 32", "netmask");
        check("10.0.1.0/+8", "0 to 32", "number of its bits");
        check("2001:db8::/129", "0 to 128", "number of its bits");
        check("web/24", "no address before the slash", "10.0.1.0/24");
        check("10.0.0.9-10.0.0.1", "not upwards", "lower address first");
        check("10.0.0.9-2001:db8::1", "within one family", "lower address first");
        check("10.0.0.1-9", "does not end with one", "`10.0.0.1-10.0.0.9`");
        assert_eq!(range("web-servers"), Err(NotARange::NoAddress));
        assert_eq!(range("10.0.0"), Err(NotARange::NoAddress));
    }

    #[test]
    fn ranges_that_touch_are_one_also_at_the_ends() {
        assert_eq!(in_order::<u16>(vec![(5, 9), (1, 2), (3, 4), (11, 12)]), [(1, 9), (11, 12)]);
        assert_eq!(in_order::<u16>(vec![(0, u16::MAX), (7, 7)]), [(0, u16::MAX)]);
    }

    proptest! {
        /// Against sets of numbers, which a byte's worth of each is small enough for.
        #[test]
        fn ranges_are_sets_of_numbers(
            one in prop::collection::vec((0_u16..64, 0_u16..64), 0..6),
            other in prop::collection::vec((0_u16..64, 0_u16..64), 0..6),
        ) {
            let ranges = |pairs: &[(u16, u16)]| -> Vec<(u16, u16)> {
                in_order(pairs.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect())
            };
            let members = |ranges: &[(u16, u16)]| -> std::collections::BTreeSet<u16> {
                ranges.iter().flat_map(|(low, high)| *low..=*high).collect()
            };
            let (one, other) = (ranges(&one), ranges(&other));
            let apart = |ranges: &[(u16, u16)]| ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
            prop_assert!(apart(&one));
            let left = minus(&one, &other);
            prop_assert!(apart(&left));
            prop_assert_eq!(members(&left), &members(&one) - &members(&other));
            let common = &members(&one) & &members(&other);
            prop_assert_eq!(lowest_common(&one, &other), common.first().copied());
        }
    }
}
