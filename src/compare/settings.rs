//! Kernel settings before they are compared: what follows from another setting is not said twice. Pure.
//!
//! A capture has every setting of every interface, a baseline those that say something: an interface's own
//! only where it is not what `default` gave it, `default`'s only where it is not what the kernel copied from
//! `all`. So an interface that comes or goes is not drift, and forwarding switched for all is one change.

use crate::model::settings::{OfInterface, Setting, known};
use crate::model::{Backend, Name, Object, Ruleset, SettingsList, Table, TableKey};
use std::collections::{BTreeMap, BTreeSet};

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// Leaves in both rulesets what is to be compared. `live` is whole, as captured, and keeps what a baseline
/// would have to say; `approved` gets what it says without words, where that differs.
///
/// - An interface's setting that the baseline does not name must be what its `default` is there.
/// - What the kernel copies to all interfaces is not told of each when `all` was switched.
/// - Approved settings of an interface that is not there (or has none of this family) count as they are.
/// - What came with a module or a newer kernel counts only if it is not neutral.
/// - What the policy ignores counts on neither side.
pub fn settle(live: &mut Ruleset, approved: &mut Ruleset, list: &SettingsList) {
    let key = TableKey::of_all(Backend::Sysctl);
    let Some(table) = live.tables.get_mut(&key) else { return };
    let had_file = approved.tables.contains_key(&key);
    let mut settings = Settings {
        live: values(table, list),
        approved: approved.tables.get(&key).map(|table| values(table, list)).unwrap_or_default(),
    };
    let (kept, expected) = settings.settled();
    settings.approved.extend(expected);
    put(table, kept);
    if had_file {
        put(approved.tables.entry(key).or_default(), settings.approved);
    }
}

fn values(table: &Table, list: &SettingsList) -> Values {
    let named = table.objects.iter().filter(|((_, name), _)| !list.ignores(&name.0));
    named.map(|((_, name), object)| (name.0.clone(), object.attrs.clone())).collect()
}

fn put(table: &mut Table, values: Values) {
    let object = |(name, attrs)| ((0, Name(name)), Object { attrs });
    table.objects = values.into_iter().map(object).collect();
}

struct Settings {
    live: Values,
    approved: Values,
}

impl Settings {
    /// What counts of the live settings, and what the baseline expects without saying so.
    fn settled(&mut self) -> (Values, Values) {
        let (mut kept, mut expected) = (Values::new(), Values::new());
        let mut dropped = Vec::new();
        for (name, value) in &self.live {
            let follows = self.follows(name, value);
            match self.approved.get(name) {
                Some(said) if said == value || !follows => drop(kept.insert(name.clone(), value.clone())),
                Some(_) => dropped.push(name.clone()),
                None => match self.expected(name) {
                    Some(implied) if implied == *value || follows => {}
                    Some(implied) => {
                        kept.insert(name.clone(), value.clone());
                        if parent(name).is_some() {
                            expected.insert(name.clone(), implied);
                        }
                    }
                    None if parent(name).is_some_and(|parent| self.live.get(&parent) == Some(value)) => {}
                    None => drop(kept.insert(name.clone(), value.clone())),
                },
            }
        }
        dropped.iter().for_each(|name| drop(self.approved.remove(name)));
        let places: BTreeSet<Vec<u8>> =
            self.live.keys().filter_map(|name| Some(OfInterface::parse(name)?.place())).collect();
        for (name, value) in self.approved.iter().filter(|(name, _)| !self.live.contains_key(*name)) {
            let place = OfInterface::parse(name).filter(OfInterface::is_single).map(|of| of.place());
            let is_gone = place.is_some_and(|place| !places.contains(&place));
            if is_gone || neutral(name).as_ref() == Some(value) {
                kept.insert(name.clone(), value.clone());
            }
        }
        (kept, expected)
    }

    /// What the baseline says of a setting that it does not name.
    fn expected(&self, name: &[u8]) -> Option<Vec<u8>> {
        let inherited = parent(name).and_then(|parent| match self.approved.get(&parent) {
            Some(value) => Some(value.clone()),
            None => self.expected(&parent),
        });
        inherited.or_else(|| neutral(name))
    }

    /// Whether a value is what the kernel copied when `all` was switched, which is told of `all`.
    fn follows(&self, name: &[u8], value: &[u8]) -> bool {
        let copied = known(name).is_some_and(|setting| setting.follows_all);
        let root = OfInterface::parse(name).filter(|_| copied).map(|of| of.root());
        root.filter(|root| root != name).is_some_and(|root| {
            let approved = self.approved.get(&root).cloned().or_else(|| self.expected(&root));
            let live = self.live.get(&root);
            live.is_some_and(|live| live == value) && approved.is_some_and(|then| then != value)
        })
    }
}

/// The setting whose value this one has unless somebody sets it.
fn parent(name: &[u8]) -> Option<Vec<u8>> {
    let of = OfInterface::parse(name)?;
    if of.is_single() {
        return Some(of.of(b"default"));
    }
    let copied = known(name).is_some_and(|setting| setting.follows_all);
    Some(of.root()).filter(|root| copied && of.interface == b"default" && root != name)
}

fn neutral(name: &[u8]) -> Option<Vec<u8>> {
    known(name).and_then(|Setting { neutral, .. }| *neutral).map(|value| value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(lines: &[&str]) -> Ruleset {
        let mut table = Table::default();
        for line in lines {
            let (name, value) = line.split_once(" = ").unwrap();
            table.objects.insert((0, Name(name.into())), Object { attrs: value.into() });
        }
        Ruleset { tables: [(TableKey::of_all(Backend::Sysctl), table)].into(), ..Ruleset::default() }
    }

    /// What a comparison would say: `NAME: BEFORE -> AFTER`.
    fn differences(approved: &[&str], live: &[&str], list: &SettingsList) -> Vec<String> {
        let (mut approved, mut live) = (ruleset(approved), ruleset(live));
        settle(&mut live, &mut approved, list);
        let of = |ruleset: &Ruleset| values(&ruleset.tables[&TableKey::of_all(Backend::Sysctl)], list);
        let (before, after) = (of(&approved), of(&live));
        let names: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
        let text = |value: Option<&Vec<u8>>| {
            value.map_or("-".into(), |value| String::from_utf8_lossy(value).into_owned())
        };
        let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        let line = |name: &Vec<u8>| {
            format!(
                "{}: {} -> {}",
                String::from_utf8_lossy(name),
                text(before.get(name)),
                text(after.get(name))
            )
        };
        differing.map(line).collect()
    }

    #[track_caller]
    fn check(approved: &[&str], live: &[&str], expect: &[&str]) {
        assert_eq!(differences(approved, live, &SettingsList::default()), expect);
    }

    const RP: [&str; 2] = ["net.ipv4.conf.all.rp_filter = 0", "net.ipv4.conf.default.rp_filter = 2"];

    fn rp(more: &[&'static str]) -> Vec<&'static str> {
        RP.into_iter().chain(more.iter().copied()).collect()
    }

    #[test]
    fn an_interface_that_has_what_default_gave_it_says_nothing() {
        check(&RP, &rp(&["net.ipv4.conf.eth0.rp_filter = 2", "net.ipv4.conf.veth1.rp_filter = 2"]), &[]);
    }

    #[test]
    fn an_interface_of_its_own_mind_is_told_against_what_was_implied() {
        let live = rp(&["net.ipv4.conf.eth0.rp_filter = 0"]);
        check(&RP, &live, &["net.ipv4.conf.eth0.rp_filter: 2 -> 0"]);
        check(&live, &live, &[]);
        check(&live, &rp(&["net.ipv4.conf.eth0.rp_filter = 2"]), &["net.ipv4.conf.eth0.rp_filter: 0 -> 2"]);
    }

    #[test]
    fn an_interface_that_changed_with_its_default_is_told_too() {
        let live = [
            "net.ipv4.conf.all.rp_filter = 0",
            "net.ipv4.conf.default.rp_filter = 0",
            "net.ipv4.conf.eth0.rp_filter = 0",
        ];
        check(
            &RP,
            &live,
            &["net.ipv4.conf.default.rp_filter: 2 -> 0", "net.ipv4.conf.eth0.rp_filter: 2 -> 0"],
        );
        let only_default = [live[0], live[1], "net.ipv4.conf.eth0.rp_filter = 2"];
        check(&RP, &only_default, &["net.ipv4.conf.default.rp_filter: 2 -> 0"]);
    }

    #[test]
    fn an_approved_setting_of_an_interface_that_went_is_kept() {
        let approved = rp(&["net.ipv4.conf.eth9.rp_filter = 0"]);
        check(&approved, &RP, &[]);
        // It is there, and the setting is not.
        let live = rp(&["net.ipv4.conf.eth9.proxy_arp = 0"]);
        let found = differences(&approved, &live, &SettingsList::default());
        assert!(found.contains(&"net.ipv4.conf.eth9.rp_filter: 0 -> -".to_owned()), "{found:?}");
        check(&RP, &["net.ipv4.conf.all.rp_filter = 0"], &["net.ipv4.conf.default.rp_filter: 2 -> -"]);
    }

    #[test]
    fn forwarding_switched_for_all_is_one_change_and_for_one_is_that_one() {
        let all = |value: &str| -> Vec<String> {
            ["net.ipv4.ip_forward", "net.ipv4.conf.default.forwarding", "net.ipv4.conf.eth0.forwarding"]
                .map(|name| format!("{name} = {value}"))
                .to_vec()
        };
        let (off, on) = (all("0"), all("1"));
        let (off, on): (Vec<&str>, Vec<&str>) =
            (off.iter().map(|l| &**l).collect(), on.iter().map(|l| &**l).collect());
        check(&off[..1], &off, &[]);
        check(&off[..1], &on, &["net.ipv4.ip_forward: 0 -> 1"]);
        check(&off, &on, &["net.ipv4.ip_forward: 0 -> 1"]);
        check(&on[..1], &off, &["net.ipv4.ip_forward: 1 -> 0"]);
        check(&off[..1], &[off[0], off[1], on[2]], &["net.ipv4.conf.eth0.forwarding: 0 -> 1"]);
        check(&off[..1], &[off[0], on[1], off[2]], &["net.ipv4.conf.default.forwarding: 0 -> 1"]);
        // Everything but one interface, which somebody took out again.
        check(&off[..1], &[on[0], on[1], off[2]], &["net.ipv4.ip_forward: 0 -> 1"]);
        check(&on[..1], &[on[0], on[1], off[2]], &["net.ipv4.conf.eth0.forwarding: 1 -> 0"]);
    }

    #[test]
    fn what_a_module_brings_counts_if_it_changes_anything() {
        check(
            &[],
            &["net.bridge.bridge-nf-call-iptables = 0", "net.netfilter.nf_conntrack_tcp_loose = 1"],
            &[],
        );
        check(
            &[],
            &["net.bridge.bridge-nf-call-iptables = 1", "net.netfilter.nf_conntrack_tcp_loose = 0"],
            &["net.bridge.bridge-nf-call-iptables: - -> 1", "net.netfilter.nf_conntrack_tcp_loose: - -> 0"],
        );
        check(
            &["net.bridge.bridge-nf-call-iptables = 0"],
            &["net.ipv4.ip_forward = 0"],
            &["net.ipv4.ip_forward: - -> 0"],
        );
        check(
            &["net.bridge.bridge-nf-call-iptables = 1"],
            &[],
            &["net.bridge.bridge-nf-call-iptables: 1 -> -"],
        );
        check(
            &["net.ipv6.conf.all.forwarding = 0"],
            &[
                "net.ipv6.conf.all.forwarding = 0",
                "net.ipv6.conf.all.force_forwarding = 0",
                "net.ipv6.conf.e.force_forwarding = 1",
            ],
            &["net.ipv6.conf.e.force_forwarding: 0 -> 1"],
        );
    }

    #[test]
    fn what_is_ignored_counts_on_neither_side() {
        let list = SettingsList::new(
            Vec::new(),
            vec!["net.ipv4.conf.cali*.rp_filter".into(), "net.ipv4.ip_forward".into()],
        );
        let live = rp(&["net.ipv4.conf.cali1.rp_filter = 0", "net.ipv4.ip_forward = 1"]);
        let approved = rp(&["net.ipv4.conf.cali2.rp_filter = 1", "net.ipv4.ip_forward = 0"]);
        assert_eq!(differences(&approved, &live, &list), Vec::<String>::new());
    }

    #[test]
    fn a_first_baseline_says_what_cannot_be_inferred() {
        let live = [
            "net.ipv4.ip_forward = 1",
            "net.ipv4.conf.default.forwarding = 1",
            "net.ipv4.conf.eth0.forwarding = 1",
            "net.ipv4.conf.eth1.forwarding = 0",
        ];
        let (mut live, mut none) = (ruleset(&live), Ruleset::default());
        settle(&mut live, &mut none, &SettingsList::default());
        let kept = values(&live.tables[&TableKey::of_all(Backend::Sysctl)], &SettingsList::default());
        let names: Vec<&[u8]> = kept.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b"net.ipv4.conf.eth1.forwarding"[..], b"net.ipv4.ip_forward"]);
        assert_eq!(none, Ruleset::default());
    }
}
