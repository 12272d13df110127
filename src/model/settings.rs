//! Kernel settings that change what rules mean, or lead packets round them: which ones, and what is known of each.
//!
//! Role: the list that `collect` reads and `compare` judges by, with what a policy adds and takes away. Pure.
//! Not in the list are settings that only tune (timeouts, sizes, rates), only log, or that routing software
//! sets on its own: they would be false alarms. `net.ipv4.conf.*.accept_redirects` is not either: the kernel
//! changes it whenever forwarding is switched.

/// What is known of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name as sysctl(8) writes it; `*` is any interface, `all` and `default` included.
    pub pattern: &'static str,
    /// The value that means the same as not being there, for what appears with a module or with a newer kernel.
    pub neutral: Option<&'static str>,
    /// Whether the kernel copies what is written to `all` to `default` and to every interface.
    pub follows_all: bool,
}

const fn always(pattern: &'static str) -> Setting {
    Setting { pattern, neutral: None, follows_all: false }
}

const fn copied(pattern: &'static str) -> Setting {
    Setting { pattern, neutral: None, follows_all: true }
}

const fn perhaps(pattern: &'static str, neutral: &'static str) -> Setting {
    Setting { pattern, neutral: Some(neutral), follows_all: false }
}

/// The list. Values and effects: Documentation/networking/ip-sysctl.rst, nf_conntrack-sysctl.rst.
pub const SETTINGS: [Setting; 26] = [
    // Whether the forward hook sees any packet. `net.ipv4.conf.all.forwarding` is the first one's other name.
    always("net.ipv4.ip_forward"),
    copied("net.ipv4.conf.*.forwarding"),
    copied("net.ipv6.conf.*.forwarding"),
    Setting { pattern: "net.ipv6.conf.*.force_forwarding", neutral: Some("0"), follows_all: true },
    // Whether there is any IPv6 for rules that speak of IPv4 alone.
    copied("net.ipv6.conf.*.disable_ipv6"),
    // Whether a source address that a rule trusts can be another's.
    always("net.ipv4.conf.*.rp_filter"),
    always("net.ipv4.conf.*.accept_local"),
    // Whether 127.0.0.0/8, which rules take for this host alone, is reached from outside.
    always("net.ipv4.conf.*.route_localnet"),
    // Whether the sender chooses the way past the hop that filters.
    always("net.ipv4.conf.*.accept_source_route"),
    always("net.ipv6.conf.*.accept_source_route"),
    perhaps("net.ipv6.conf.*.seg6_enabled", "0"),
    perhaps("net.ipv6.conf.*.rpl_seg_enabled", "0"),
    // Whether this host draws other hosts' packets to itself, to forward them.
    always("net.ipv4.conf.*.proxy_arp"),
    always("net.ipv6.conf.*.proxy_ndp"),
    // Whether replies and accepted connections carry the mark that rules match.
    always("net.ipv4.fwmark_reflect"),
    always("net.ipv6.fwmark_reflect"),
    always("net.ipv4.tcp_fwmark_accept"),
    // Whether bridged packets meet the rules of ip, ip6 and arp, and as coming from which device. They appear
    // with br_netfilter, whose presence alone begins that.
    perhaps("net.bridge.bridge-nf-*", "0"),
    // What counts as established, related and invalid. They appear with nf_conntrack; the values are its own.
    perhaps("net.netfilter.nf_conntrack_helper", "0"),
    perhaps("net.netfilter.nf_conntrack_tcp_loose", "1"),
    perhaps("net.netfilter.nf_conntrack_tcp_be_liberal", "0"),
    perhaps("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", "0"),
    perhaps("net.netfilter.nf_conntrack_checksum", "1"),
    perhaps("net.netfilter.nf_conntrack_dccp_loose", "1"),
    // Whether packets of lightweight tunnels (segment routing) meet the hooks, and as which.
    perhaps("net.netfilter.nf_hooks_lwtunnel", "0"),
    // Whether connections that IPVS hands on are tracked at all.
    perhaps("net.ipv4.vs.conntrack", "0"),
];

/// The one setting of the list that has another name in it.
const SAME_AS_IP_FORWARD: &[u8] = b"net.ipv4.conf.all.forwarding";

/// Which settings are read and compared: the list above, what is approved already, what a policy adds; without
/// what a policy ignores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsList {
    also: Vec<Vec<u8>>,
    ignore: Vec<Vec<u8>>,
    approved: Vec<Vec<u8>>,
}

impl SettingsList {
    /// The list with what a policy says. A setting that `also` names and the baseline does not have yet shows up
    /// as added until it is approved. `ignore` is stronger than `also`. Patterns must have passed [`why_not`].
    pub fn new(also: Vec<String>, ignore: Vec<String>) -> Self {
        let bytes = |patterns: Vec<String>| patterns.into_iter().map(String::into_bytes).collect();
        Self { also: bytes(also), ignore: bytes(ignore), approved: Vec::new() }
    }

    /// With settings that a baseline names: what is approved is compared, listed or not.
    pub fn with_approved(mut self, names: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.approved.extend(names);
        self
    }

    /// The patterns to read, each once. What they match is in the list if [`SettingsList::holds`] says so.
    pub fn patterns(&self) -> Vec<&[u8]> {
        let known = SETTINGS.iter().map(|setting| setting.pattern.as_bytes());
        let more = self
            .also
            .iter()
            .map(Vec::as_slice)
            .filter(|also| !SETTINGS.iter().any(|s| s.pattern.as_bytes() == *also));
        let listed: Vec<&[u8]> = known.chain(more).collect();
        let single = self.approved.iter().filter(|name| {
            !listed.iter().any(|pattern| matches(pattern, name)) || name.as_slice() == SAME_AS_IP_FORWARD
        });
        listed.iter().copied().chain(single.map(Vec::as_slice)).collect()
    }

    /// Whether a setting that a pattern matches is one of the list.
    pub fn holds(&self, name: &[u8]) -> bool {
        let asked_for = || self.also.iter().chain(&self.approved).any(|wanted| wanted == name);
        !self.ignores(name) && (name != SAME_AS_IP_FORWARD || asked_for())
    }

    /// Whether a policy says that it does not matter.
    pub fn ignores(&self, name: &[u8]) -> bool {
        self.ignore.iter().any(|pattern| matches(pattern, name))
    }
}

/// Why a pattern of a policy cannot be used; `None` if it can.
pub fn why_not(pattern: &str) -> Option<String> {
    let parts: Vec<&str> = pattern.split('.').collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-/*@:+".contains(c);
    if parts.first() != Some(&"net") || parts.len() < 3 {
        return Some(format!(
            "{pattern:?} is not the name of a setting below net., such as net.ipv4.tcp_syncookies"
        ));
    }
    if parts.iter().any(|part| part.is_empty() || part.starts_with('/') || !part.chars().all(plain)) {
        return Some(format!(
            "{pattern:?} has a part that is empty or holds what no name has; a dot in an interface's name is written /"
        ));
    }
    if parts.iter().filter(|part| part.contains('*')).count() > 1 {
        return Some(format!("{pattern:?} has `*` in more than one part"));
    }
    None
}

/// What is known of a setting; none of one that is not in the list.
pub fn known(name: &[u8]) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| matches(setting.pattern.as_bytes(), name))
}

/// A setting of an interface, as `net.FAMILY.conf.INTERFACE.KEY` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfInterface<'a> {
    /// `ipv4`, `ipv6`.
    pub family: &'a [u8],
    /// Its name, a dot as `/`; or `all`, or `default`.
    pub interface: &'a [u8],
    /// What it sets.
    pub key: &'a [u8],
}

impl<'a> OfInterface<'a> {
    /// The parts of a name of this form.
    pub fn parse(name: &'a [u8]) -> Option<Self> {
        let parts: Vec<&[u8]> = name.split(|byte| *byte == b'.').collect();
        match parts[..] {
            [b"net", family, b"conf", interface, key] => Some(Self { family, interface, key }),
            _ => None,
        }
    }

    /// The name of the same setting of another interface.
    pub fn of(&self, interface: &[u8]) -> Vec<u8> {
        [b"net", self.family, b"conf", interface, self.key].join(&b'.')
    }

    /// What comes before the key: the same for all settings of one interface and family.
    pub fn place(&self) -> Vec<u8> {
        [b"net", self.family, b"conf", self.interface, b""].join(&b'.')
    }

    /// Whether it is of one interface, not `all` or `default`.
    pub fn is_single(&self) -> bool {
        self.interface != b"all" && self.interface != b"default"
    }

    /// The setting of `all`: for IPv4 forwarding by its other name.
    pub fn root(&self) -> Vec<u8> {
        let name = self.of(b"all");
        if name == SAME_AS_IP_FORWARD { b"net.ipv4.ip_forward".to_vec() } else { name }
    }
}

/// Whether a name fits a pattern: part by part, `*` in a part for any characters.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = (pattern.split(|byte| *byte == b'.'), name.split(|byte| *byte == b'.'));
    loop {
        match (parts.0.next(), parts.1.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern, part) => {}
            _ => return false,
        }
    }
}

/// Whether one part fits.
pub fn part_matches(pattern: &[u8], part: &[u8]) -> bool {
    match pattern.split_first() {
        None => part.is_empty(),
        Some((b'*', rest)) => (0..=part.len()).any(|skipped| part_matches(rest, &part[skipped..])),
        Some((first, rest)) => {
            part.split_first().is_some_and(|(found, left)| found == first && part_matches(rest, left))
        }
    }
}

/// Bytes from the kernel as a word of a line `NAME = VALUE`: what would end the name, the line or be shown
/// otherwise than it is becomes `\xNN`.
pub fn word(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' | b'=' | b'#' | b';' => out.extend(format!("\\x{byte:02x}").bytes()),
            0x21..=0x7e => out.push(*byte),
            _ => out.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    out
}

/// The bytes that [`word`] was made of.
pub fn bytes_of(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, left)) = rest.split_first() {
        let number = left.strip_prefix(b"x").and_then(|hex| hex.get(..2)).filter(|_| *first == b'\\');
        let number = number.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match number {
            Some(byte) => {
                out.push(byte);
                rest = &left[3..];
            }
            None => {
                out.push(*first);
                rest = left;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_part_of_one_component() {
        let check = |pattern: &str, name: &str, expect| {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expect, "{pattern} {name}");
        };
        check("net.ipv4.conf.*.rp_filter", "net.ipv4.conf.eth0/100.rp_filter", true);
        check("net.ipv4.conf.*.rp_filter", "net.ipv4.conf.eth0.100.rp_filter", false);
        check("net.ipv4.conf.veth*.rp_filter", "net.ipv4.conf.veth1a.rp_filter", true);
        check("net.ipv4.conf.veth*.rp_filter", "net.ipv4.conf.eth0.rp_filter", false);
        check("net.bridge.bridge-nf-*", "net.bridge.bridge-nf-call-iptables", true);
        check("net.ipv4.ip_forward", "net.ipv4.ip_forward_update_priority", false);
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        for bad in [
            "",
            "net",
            "net.ipv4",
            "kernel.modules_disabled",
            "net..x",
            "net.ipv4.a b",
            "net.*.conf.*.x",
            "net./etc.x",
        ] {
            assert!(why_not(bad).is_some(), "{bad:?}");
        }
        for good in ["net.ipv4.tcp_syncookies", "net.ipv6.conf.*.accept_ra", "net.ipv4.conf.eth0/100.tag"] {
            assert_eq!(why_not(good), None, "{good:?}");
        }
    }

    #[test]
    fn what_is_listed_twice_is_read_once_and_what_is_ignored_never() {
        let list = SettingsList::new(
            vec!["net.ipv4.ip_forward".into(), "net.ipv4.tcp_syncookies".into()],
            vec!["net.ipv4.conf.cali*.rp_filter".into()],
        )
        .with_approved([b"net.ipv4.conf.eth0.rp_filter".to_vec(), b"net.core.somaxconn".to_vec()]);
        let patterns = list.patterns();
        assert_eq!(patterns.len(), SETTINGS.len() + 2, "{patterns:?}");
        assert!(!list.holds(b"net.ipv4.conf.cali12.rp_filter"));
        assert!(list.holds(b"net.ipv4.conf.eth0.rp_filter"));
        assert!(!list.holds(SAME_AS_IP_FORWARD), "it is ip_forward");
        assert!(list.with_approved([SAME_AS_IP_FORWARD.to_vec()]).holds(SAME_AS_IP_FORWARD));
    }

    #[test]
    fn any_bytes_make_one_word_and_come_back() {
        for bytes in [&b"eth0"[..], b"#a=b;c", b"\xff\n\x1b[2J", b"\\x41", b"a b", b"\\"] {
            let word = word(bytes);
            assert!(word.iter().all(|byte| byte.is_ascii_graphic() && !b"=#;".contains(byte)), "{word:?}");
            assert_eq!(bytes_of(&word), bytes);
        }
    }
}
