//! BPF programs that see packets before or beside netfilter: at XDP, tc and tcx of an interface, at socket
//! lookup of a namespace, and at netfilter's own hooks.
//!
//! Interfaces, queueing disciplines and filters are listed over rtnetlink(7), names and tags asked for with
//! bpf(2). Nothing is made or loaded: dumps of interfaces without any queueing discipline are just empty.

mod words;

use crate::model::settings::word;
use crate::model::{ContextObject, Gap};
use crate::netlink::{Attrs, Message};
use crate::sys::bpf::{self, Target, hook};
use crate::sys::netns::Netns;
use crate::sys::socket::{Dump, Socket, SocketError};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use words::{described, filter_value, number, value};

const RTM_GETLINK: u16 = 18;
const RTM_GETQDISC: u16 = 38;
const RTM_GETTCLASS: u16 = 42;
const RTM_GETTFILTER: u16 = 46;
/// Length of `struct ifinfomsg` and of `struct tcmsg`.
const IFINFOMSG: usize = 16;
const TCMSG: usize = 20;
const IFLA_IFNAME: u16 = 3;
const IFLA_XDP: u16 = 43;
/// `IFLA_XDP_DRV_PROG_ID` and so on, with the word for each mode.
const XDP_MODES: [(u16, &str); 3] = [(5, "driver"), (6, "generic"), (7, "offload")];
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
/// The two sides of clsact (`TC_H_MIN_INGRESS`, `TC_H_MIN_EGRESS`); an ingress discipline has the first.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Disciplines that take no filters: they are not asked.
const WITHOUT_FILTERS: [&[u8]; 7] = [b"noqueue", b"mq", b"pfifo_fast", b"pfifo", b"bfifo", b"fq", b"tbf"];
/// Disciplines whose classes take filters of their own.
const WITH_CLASSES: [&[u8]; 3] = [b"htb", b"hfsc", b"cbq"];
/// A reading torn by a change is repeated at most this often.
const ATTEMPTS: usize = 5;
/// There in the host's first network namespace only (`net_core_table` in net/core/sysctl_net_core.c).
const FIRST_NAMESPACE: &str = "/proc/sys/net/core/netdev_budget";

/// The programs of the calling thread's namespace, in the order of their names, and what could not be seen.
/// `IFACE xdp/MODE`, `IFACE tc/SIDE pref N handle N`, `IFACE tcx/SIDE [N]`, `netns sk_lookup [N]`,
/// `netfilter FAMILY/HOOK priority N`; the value is the program's name and tag, and how it is attached. Three
/// dumps, then one dump a queueing discipline and two questions an interface: linear in interfaces.
///
/// The kernel does not tell the namespace of a netfilter link. They are listed in the host's first one, and
/// elsewhere a gap that does not alter the verdict says that there are some.
pub fn capture() -> (Vec<ContextObject>, Vec<Gap>) {
    for attempt in 1..=ATTEMPTS {
        match Reading::default().all() {
            Ok((Dump::Whole, reading)) => return reading.done(),
            Ok((Dump::Interrupted, _)) => {}
            // An interface or a program went between two questions.
            Err(error)
                if attempt < ATTEMPTS && matches!(error.errno(), Some(libc::ENODEV | libc::ENOENT)) => {}
            Err(error) => return (Vec::new(), vec![error.gap()]),
        }
    }
    let reason = format!("interfaces or their programs changed during each of {ATTEMPTS} readings");
    (Vec::new(), vec![gap(reason, None)])
}

/// Why programs could not be listed.
#[derive(Debug, thiserror::Error)]
enum BpfError {
    #[error("cannot list {what}: {error}")]
    Dump { what: &'static str, error: SocketError },
    #[error("cannot ask for {what}: {error}")]
    Ask { what: String, error: io::Error },
}

impl BpfError {
    fn errno(&self) -> Option<i32> {
        match self {
            Self::Dump { error, .. } => error.errno(),
            Self::Ask { error, .. } => error.raw_os_error(),
        }
    }

    fn is_refused(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }

    fn gap(&self) -> Gap {
        let hint = self.is_refused().then(|| {
            "bpf(2) needs CAP_SYS_ADMIN and CAP_NET_ADMIN, and a seccomp filter that lets it through \
             (a systemd unit: SystemCallFilter=bpf)"
                .to_owned()
        });
        gap(self.to_string(), hint)
    }
}

fn gap(reason: String, hint: Option<String>) -> Gap {
    Gap { source: "bpf".to_owned(), reason, hint, blinds_verdict: true }
}

/// What is beside the programs that were read whole: under a word of its own, since a gap of `bpf` says that
/// approved programs may be there unseen.
fn notice(source: &str, reason: String, hint: Option<String>) -> Gap {
    Gap { source: source.to_owned(), reason, hint, blinds_verdict: false }
}

/// A queueing discipline or a class, as a place for filters.
#[derive(Clone, Copy)]
struct Place {
    interface: u32,
    parent: u32,
}

#[derive(Default)]
struct Reading {
    interfaces: BTreeMap<u32, Vec<u8>>,
    found: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Programs known by id until they are asked for: name of the place, id, how attached.
    pending: Vec<(Vec<u8>, u32, &'static str)>,
    /// Filters that are no BPF, by interface.
    others: BTreeMap<Vec<u8>, usize>,
    gaps: Vec<Gap>,
}

impl Reading {
    fn all(mut self) -> Result<(Dump, Self), BpfError> {
        let dump = |what| move |error| BpfError::Dump { what, error };
        let mut socket = Socket::open(None).map_err(dump("interfaces"))?;
        let mut states = vec![self.links(&mut socket).map_err(dump("interfaces"))?];
        states.push(self.filters(&mut socket).map_err(dump("tc filters"))?);
        match self.queried().and_then(|()| self.netfilter()) {
            Ok(()) => {}
            // Nobody in a user namespace may ask; whether that alters the verdict is told by what else is seen.
            Err(error) if error.is_refused() && !in_first_user_namespace() => {
                self.gaps.push(Gap { blinds_verdict: false, hint: None, ..error.gap() });
            }
            Err(error) => return Err(error),
        }
        for (name, id, attached) in std::mem::take(&mut self.pending) {
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let program = bpf::program(id)
                .map_err(|error| BpfError::Ask { what: format!("the program at {}", text(&name)), error })?;
            self.put(name, value(&program.name, &program.tag, attached));
        }
        let torn = states.contains(&Dump::Interrupted);
        Ok((if torn { Dump::Interrupted } else { Dump::Whole }, self))
    }

    fn done(self) -> (Vec<ContextObject>, Vec<Gap>) {
        let mut gaps = self.gaps;
        if !self.others.is_empty() {
            let names: Vec<String> =
                self.others.keys().take(3).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            let more = if self.others.len() > names.len() { ", …" } else { "" };
            let count: usize = self.others.values().sum();
            let reason = format!(
                "{count} tc filter{} other than BPF (on {}{more}), which may drop packets, not compared by this version",
                if count == 1 { " is" } else { "s are" },
                names.join(", ")
            );
            gaps.push(notice("tc", reason, None));
        }
        let object = |(name, value)| ContextObject { name, value };
        (self.found.into_iter().map(object).collect(), gaps)
    }

    /// Several programs at one place are numbered in the order in which they run.
    fn put(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let numbered = |number: usize| match number {
            1 => name.clone(),
            _ => [&name[..], format!(" {number}").as_bytes()].concat(),
        };
        let free = (1..).map(numbered).find(|name| !self.found.contains_key(name));
        self.found.insert(free.unwrap_or(name), value);
    }

    /// Interfaces, and the programs at their XDP hooks.
    fn links(&mut self, socket: &mut Socket) -> Result<Dump, SocketError> {
        socket.dump(RTM_GETLINK, &[&[0; IFINFOMSG]], |message| {
            let Some((index, attrs)) = indexed(&message, IFINFOMSG) else { return };
            let Some(name) = attrs.find(IFLA_IFNAME).map(|attr| word(attr.string())) else { return };
            for attr in attrs.find(IFLA_XDP).into_iter().flat_map(|xdp| xdp.nested().flatten()) {
                let mode = XDP_MODES.iter().find(|(kind, _)| *kind == attr.kind);
                if let (Some((_, mode)), Some(id)) = (mode, number(&attr)) {
                    let place = [&name[..], b" xdp/", mode.as_bytes()].concat();
                    self.pending.push((place, id, ""));
                }
            }
            self.interfaces.insert(index, name);
        })
    }

    /// Programs at the filters of queueing disciplines.
    fn filters(&mut self, socket: &mut Socket) -> Result<Dump, SocketError> {
        let mut places = Vec::new();
        let mut classful = Vec::new();
        let listed = socket.dump(RTM_GETQDISC, &[&[0; TCMSG]], |message| {
            let Some((interface, attrs)) = indexed(&message, TCMSG) else { return };
            let kind = attrs.find(TCA_KIND).map(|attr| attr.string()).unwrap_or_default();
            match kind {
                b"clsact" => places.extend([INGRESS, EGRESS].map(|parent| Place { interface, parent })),
                b"ingress" => places.push(Place { interface, parent: INGRESS }),
                _ if WITHOUT_FILTERS.contains(&kind) => {}
                _ => {
                    let handle = field(&message, 8);
                    places.push(Place { interface, parent: handle });
                    if WITH_CLASSES.contains(&kind) {
                        classful.push(Place { interface, parent: handle });
                    }
                }
            }
        });
        let mut state = match listed {
            Ok(state) => state,
            // No traffic control in this kernel.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => return Ok(Dump::Whole),
            Err(error) => return Err(error),
        };
        for place in classful {
            let request = tcmsg(place);
            let dump = socket.dump(RTM_GETTCLASS, &[&request], |message| {
                places.push(Place { parent: field(&message, 8), ..place });
            })?;
            if dump == Dump::Interrupted {
                state = dump;
            }
        }
        for place in places {
            let dump =
                socket.dump(RTM_GETTFILTER, &[&tcmsg(place)], |message| self.filter(place, &message))?;
            if dump == Dump::Interrupted {
                state = dump;
            }
        }
        Ok(state)
    }

    fn filter(&mut self, place: Place, message: &Message<'_>) {
        let Some(attrs) = message.payload.get(TCMSG..).map(Attrs) else { return };
        let Some(interface) = self.interfaces.get(&place.interface).cloned() else { return };
        // The head of a filter list has no options.
        let Some(options) = attrs.find(TCA_OPTIONS).map(|attr| attr.nested()) else { return };
        if attrs.find(TCA_KIND).map(|attr| attr.string()) != Some(&b"bpf"[..]) {
            *self.others.entry(interface).or_default() += 1;
            return;
        }
        let side = match place.parent {
            INGRESS => "ingress".to_owned(),
            EGRESS => "egress".to_owned(),
            handle => format!("parent {:x}:{:x}", handle >> 16, handle & 0xffff),
        };
        let info = field(message, 16);
        let chain = attrs.find(TCA_CHAIN).and_then(|attr| number(&attr)).unwrap_or_default();
        let chain = if chain == 0 { String::new() } else { format!(" chain {chain}") };
        let tail = format!(" tc/{side}{chain} pref {} handle {:#x}", info >> 16, field(message, 8));
        let name = [&interface[..], tail.as_bytes()].concat();
        self.put(name, filter_value(options, (info as u16).swap_bytes()));
    }

    /// Programs at hooks that can be asked for by place.
    fn queried(&mut self) -> Result<(), BpfError> {
        let netns = Netns::current();
        let netns = netns.map_err(|error| ask("the namespace", io::Error::other(error.to_string())))?;
        self.at(b"netns sk_lookup".to_vec(), Target::Netns(netns.as_fd()), hook::SK_LOOKUP)?;
        for (index, name) in self.interfaces.clone() {
            for (side, hook) in [("ingress", hook::TCX_INGRESS), ("egress", hook::TCX_EGRESS)] {
                let place = [&name[..], b" tcx/", side.as_bytes()].concat();
                if !self.at(place, Target::Interface(index), hook)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether the kernel has this kind of hook.
    fn at(&mut self, place: Vec<u8>, target: Target<'_>, hook: u32) -> Result<bool, BpfError> {
        match bpf::attached(target, hook) {
            Ok(ids) => {
                self.pending.extend(ids.into_iter().map(|id| (place.clone(), id, "")));
                Ok(true)
            }
            Err(error) if is_lacking(&error) => Ok(false),
            Err(error) => Err(ask(&String::from_utf8_lossy(&place), error)),
        }
    }

    fn netfilter(&mut self) -> Result<(), BpfError> {
        let links = match bpf::netfilter_links() {
            Ok(links) => links,
            Err(error) if is_lacking(&error) => return Ok(()),
            Err(error) => return Err(ask("links", error)),
        };
        if links.is_empty() {
            return Ok(());
        }
        let count = match links.len() {
            1 => "1 BPF program is".to_owned(),
            count => format!("{count} BPF programs are"),
        };
        let is_first = Path::new(FIRST_NAMESPACE).exists();
        let place = if is_first { "" } else { ", perhaps of this namespace" };
        let reason = format!(
            "{count} at netfilter hooks of this host{place}: the kernel does not tell of which namespace"
        );
        let hint = "they are compared where the host's first network namespace is looked at".to_owned();
        let hint = (!is_first).then_some(hint);
        if is_first {
            self.pending.extend(links.iter().map(described));
        }
        self.gaps.push(notice("bpf-links", reason, hint));
        Ok(())
    }
}

fn ask(what: &str, error: io::Error) -> BpfError {
    BpfError::Ask { what: what.to_owned(), error }
}

/// user_namespaces(7): the first one maps every user to itself. Where that cannot be read, it is taken to be so.
fn in_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/thread-self/uid_map").unwrap_or_default();
    map.is_empty() || map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// No bpf(2), or a kernel from before this kind of hook.
fn is_lacking(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP))
}

/// The interface that a message is about (at the same place in both headers), and its attributes.
fn indexed<'a>(message: &Message<'a>, header: usize) -> Option<(u32, Attrs<'a>)> {
    Some((field(message, 4), Attrs(message.payload.get(header..)?)))
}

/// A number of a message's header, in the order of this machine.
fn field(message: &Message<'_>, offset: usize) -> u32 {
    let bytes = message.payload.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).unwrap_or_default()
}

/// `struct tcmsg`: family, interface, handle, parent, info.
fn tcmsg(place: Place) -> [u8; TCMSG] {
    let mut header = [0; TCMSG];
    header[4..8].copy_from_slice(&place.interface.to_ne_bytes());
    header[12..16].copy_from_slice(&place.parent.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::links;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use std::time::Instant;

    fn three_interfaces() -> Netns {
        let netns = Netns::create().unwrap();
        netns.run(|| ["e0", "e1"].iter().for_each(|name| links::make(0, name.as_bytes()).unwrap())).unwrap();
        netns
    }

    #[test]
    fn a_namespace_without_programs_has_none_and_asking_makes_nothing() {
        let modules = || std::fs::read_to_string("/proc/modules").unwrap_or_default().lines().count();
        let netns = three_interfaces();
        let before = modules();
        let (found, gaps) = netns.run(capture).unwrap();
        assert_eq!(found, []);
        // Another test may have a netfilter link, which the kernel shows everywhere.
        assert!(gaps.iter().all(|gap| !gap.blinds_verdict), "{gaps:?}");
        assert_eq!(modules(), before);
    }

    #[test]
    fn who_may_not_ask_is_told_what_is_needed_and_cannot_tell() {
        for needed in [CapabilitySet::SYS_ADMIN, CapabilitySet::NET_ADMIN] {
            let ask = || {
                let mut own = capabilities(None).unwrap();
                own.effective.remove(needed);
                if needed == CapabilitySet::NET_ADMIN {
                    own.effective.remove(CapabilitySet::SYS_ADMIN);
                }
                set_capabilities(None, own).unwrap();
                capture()
            };
            let (found, gaps) = three_interfaces().run(ask).unwrap();
            assert_eq!(found, []);
            assert!(gaps.iter().any(|gap| gap.blinds_verdict && gap.source == "bpf"), "{gaps:?}");
            assert!(gaps[0].hint.as_deref().unwrap().contains("SystemCallFilter=bpf"), "{gaps:?}");
        }
    }

    /// Prints what a look costs; asserts only what a machine ten times slower would do, too.
    #[test]
    fn settings_and_programs_of_three_interfaces_cost_less_than_a_look_may() {
        let list = crate::model::SettingsList::default();
        let (settings, programs, number) = three_interfaces()
            .run(|| {
                let (mut settings, mut programs, mut number) = (Vec::new(), Vec::new(), 0);
                for _ in 0..20 {
                    let start = Instant::now();
                    number = crate::collect::sysctl::capture(&list).0.len();
                    settings.push(start.elapsed());
                    let start = Instant::now();
                    capture();
                    programs.push(start.elapsed());
                }
                (settings.into_iter().min().unwrap(), programs.into_iter().min().unwrap(), number)
            })
            .unwrap();
        eprintln!("{number} settings {settings:?}, programs {programs:?}");
        assert!((settings + programs).as_millis() < 10, "{settings:?} {programs:?}");
    }
}
