//! The kernel as the judge of packets: sends them through a ruleset in a namespace and says what became of each.
//!
//! A [`Lab`] is a host of its own with interfaces of chosen names. [`Lab::verdicts`] brings packets to the hooks of a
//! [`Path`] (with conntrack in the state asked for) and reads from our own tables (`record`), whose chains come before
//! and after all others, which packets passed. Nothing here knows how fwdrift models a ruleset.
//!
//! What a verdict is *not*: rules that match the IPv4 identification or the flow label see our tag; those that count
//! or limit see other packets, too; those that match `fib` see the routes of `wires` (any source is behind any
//! interface; for [`Path::Input`] just the destinations asked about are the host's own).

mod conntrack;
mod packet;
mod record;
mod wire;
mod wires;

pub use packet::{Direction, L4, Packet, Path, State};
pub use record::Hook;

use conntrack::Flow;
use fwdrift::model::Ruleset;
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;
use record::{Place, Sightings};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use wire::Flaw;
pub use wire::is_error;
use wires::{Routing, Wires};

/// Packets sent between two readings of the sets: fewer than the smallest conntrack table holds.
const WAVE: usize = 4096;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It passed all hooks of its path.
    Accepted,
    /// It came to this hook and did not pass it.
    Dropped(Hook),
    /// The question could not be put to the ruleset; why.
    NotAsked(String),
}

/// Which of the two programs that are called iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Nft,
    Legacy,
}

/// A host with a ruleset; gone when dropped.
pub struct Lab {
    wires: Wires,
    nftables: Socket,
    conntrack: Socket,
    next_tag: u32,
    /// Whether the ruleset looks for the way back to a source.
    looks_back: bool,
}

/// What packets of one wave have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Route {
    /// Forward: the outgoing interface.
    to: String,
    /// The incoming interface, where the ruleset looks back.
    from: Option<String>,
}

impl Lab {
    /// A host with these interfaces (and `lo`) and no rules. Without any name, it has `eth0`.
    pub fn new(interfaces: &[&str]) -> Self {
        let wires = Wires::new(interfaces);
        let socket = || wires.socket(rustix::net::netlink::NETFILTER);
        let (nftables, conntrack) = (socket(), socket());
        let mut lab = Self { wires, nftables, conntrack, next_tag: 1, looks_back: false };
        lab.install();
        lab
    }

    /// Loads commands or a ruleset's text with nft, beside what is there. The error is what nft said.
    pub fn load_nft(&mut self, text: &str) -> Result<(), String> {
        self.load("nft", &["-f", "-"], text)
    }

    /// Loads what iptables-save (`family` 4) or ip6tables-save (6) wrote.
    pub fn load_iptables(&mut self, family: u8, text: &str, backend: Backend) -> Result<(), String> {
        let program = match (family, backend) {
            (6, Backend::Nft) => "ip6tables-nft-restore",
            (6, Backend::Legacy) => "ip6tables-legacy-restore",
            (_, Backend::Nft) => "iptables-nft-restore",
            (_, Backend::Legacy) => "iptables-legacy-restore",
        };
        self.load(program, &[], text)
    }

    /// Makes the sets that `ipset save` wrote. [`Self::flush`] leaves them.
    pub fn load_ipset(&mut self, text: &str) -> Result<(), String> {
        self.load("ipset", &["restore"], text)
    }

    /// Loads what `nft -j list ruleset` wrote.
    pub fn load_json(&mut self, text: &str) -> Result<(), String> {
        self.load("nft", &["-j", "-f", "-"], text)
    }

    /// The ruleset as fwdrift reads it, without our own tables.
    pub fn ruleset(&self) -> Ruleset {
        let capture = || {
            let capture = fwdrift::collect::capture(&Netns::current().unwrap(), None).unwrap().0;
            fwdrift::normalise::normalise(&capture).unwrap()
        };
        let mut ruleset = self.wires.inside(capture);
        ruleset.tables.retain(|key, _| key.name.0 != record::TABLE.as_bytes());
        ruleset
    }

    /// The header of the frame in which a packet comes in; none of one that goes out.
    pub fn link_header(&self, path: Path, packet: &Packet) -> Option<[u8; 14]> {
        match path {
            Path::Input | Path::Forward => self.wires.link_header(packet),
            Path::Output => None,
        }
    }

    /// All interfaces, `lo` among them.
    pub fn interfaces(&self) -> Vec<String> {
        self.wires.names().map(str::to_owned).collect()
    }

    fn load(&mut self, program: &str, args: &[&str], text: &str) -> Result<(), String> {
        let output = self.wires.run(program, args, text);
        self.looks_back |= ["fib", "rpfilter"].iter().any(|word| text.contains(word));
        // It may have begun with `flush ruleset`; making them anew takes ten times as long as looking.
        let tables = self.wires.run("nft", &["list", "tables"], "").stdout;
        let ours = |line: &&str| line.ends_with(&format!(" {}", record::TABLE));
        if String::from_utf8_lossy(&tables).lines().filter(ours).count() < 2 {
            self.install();
        }
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// Takes the ruleset away: all tables of nf_tables, all rules of legacy tables.
    pub fn flush(&mut self) {
        self.looks_back = false;
        self.load_nft("flush ruleset").unwrap();
        for (family, list) in [(4, "ip_tables_names"), (6, "ip6_tables_names")] {
            let path = format!("/proc/thread-self/net/{list}");
            let tables = self.wires.inside(|| std::fs::read_to_string(path).unwrap_or_default());
            for table in tables.lines() {
                self.load_iptables(family, &empty(table), Backend::Legacy).unwrap();
            }
        }
    }

    /// What becomes of each of these packets; in their order. They do not influence one another through conntrack.
    pub fn verdicts(&mut self, path: Path, packets: &[Packet]) -> Vec<Seen> {
        let mut seen = vec![None; packets.len()];
        let mut waves: BTreeMap<(Route, usize), Vec<usize>> = BTreeMap::new();
        let mut rounds: HashMap<_, usize> = HashMap::new();
        for (at, packet) in packets.iter().enumerate() {
            match self.route_of(path, packet) {
                Ok(route) => {
                    let round = rounds.entry((route.clone(), Flow::of(packet).key())).or_default();
                    waves.entry((route, *round)).or_default().push(at);
                    *round += 1;
                }
                Err(why) => seen[at] = Some(Seen::NotAsked(why)),
            }
        }
        for ((route, _), wave) in waves {
            for part in wave.chunks(WAVE) {
                let asked: Vec<&Packet> = part.iter().map(|at| &packets[*at]).collect();
                for (at, answer) in part.iter().zip(self.ask(path, &route, &asked)) {
                    seen[*at] = Some(answer);
                }
            }
        }
        seen.into_iter().map(|answer| answer.expect("each packet is in one wave")).collect()
    }

    /// What becomes of these packets when they are sent one after the other, in the connections that there are: none is
    /// made, none forgotten. A packet's state is only compared with what conntrack says.
    pub fn in_turn(&mut self, packets: &[(Path, Packet)]) -> Vec<Seen> {
        conntrack::flush(&mut self.conntrack);
        let mut one = |(path, packet): &(Path, Packet)| match self.route_of(*path, packet) {
            Ok(route) => self.put(*path, &route, &[packet], vec![Ok(())]).remove(0),
            Err(why) => Seen::NotAsked(why),
        };
        packets.iter().map(&mut one).collect()
    }

    /// What decides the routes; or why the packet cannot be sent.
    fn route_of(&self, path: Path, packet: &Packet) -> Result<Route, String> {
        if packet.src.is_ipv4() != packet.dst.is_ipv4() {
            return Err("addresses of two families".into());
        }
        match packet.l4 {
            L4::Other(1 | 6 | 17 | 58 | 132) => return Err("this protocol has a kind of its own".into()),
            L4::Other(0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140) if packet.dst.is_ipv6() => {
                return Err("an extension header, not a protocol".into());
            }
            _ => {}
        }
        let named = |name: &Option<String>| {
            let interface = self.wires.interface(name.as_deref());
            interface.map(|(name, _)| name.to_owned()).ok_or_else(|| format!("no interface {name:?}"))
        };
        let to = match path {
            Path::Input => named(&packet.iif).map(|_| String::new())?,
            Path::Forward if packet.iif.as_deref() == Some("lo") => {
                return Err("nothing is forwarded from lo".into());
            }
            Path::Forward => match named(&packet.oif)? {
                lo if lo == "lo" => return Err("nothing is forwarded to lo".into()),
                name => name,
            },
            Path::Output => named(&packet.oif).map(|_| String::new())?,
        };
        let from = match path {
            Path::Input | Path::Forward => Some(named(&packet.iif)?),
            Path::Output => None,
        };
        Ok(Route { to, from: from.filter(|_| self.looks_back) })
    }

    /// One wave: at most one packet of each connection, all with the same routes.
    fn ask(&mut self, path: Path, route: &Route, packets: &[&Packet]) -> Vec<Seen> {
        conntrack::flush(&mut self.conntrack);
        let ready = packets.iter().map(|packet| conntrack::prepare(&mut self.conntrack, packet)).collect();
        self.put(path, route, packets, ready)
    }

    /// Sends packets whose connections are ready, and reads what became of them.
    fn put(
        &mut self,
        path: Path,
        route: &Route,
        packets: &[&Packet],
        ready: Vec<Result<(), String>>,
    ) -> Vec<Seen> {
        let first = self.tags(packets.len() as u32);
        match path {
            Path::Input => {
                self.wires.route(Routing::Here);
                self.wires.own(&packets.iter().map(|packet| packet.dst).collect());
            }
            Path::Forward => self.wires.route(Routing::Through(route.to.clone())),
            Path::Output => {}
        }
        if let Some(from) = &route.from {
            self.wires.put_behind(from);
        }
        let groups = self.wires.join(packets);
        let sent: Vec<Result<(), String>> = packets
            .iter()
            .zip(ready)
            .zip(first..)
            .map(|((packet, ready), tag)| {
                ready?;
                let bytes = wire::ip_packet(packet, tag, flaw(path, packet));
                match self.wires.send(path, packet, &bytes) {
                    // A drop at output is told to the sender.
                    Ok(()) | Err(Errno::PERM) => Ok(()),
                    Err(error) => Err(format!("cannot be sent: {error}")),
                }
            })
            .collect();
        let count = sent.iter().filter(|sent| sent.is_ok()).count();
        let versions = [('4', false), ('6', true)].into_iter();
        let versions = versions.filter(|(_, v6)| packets.iter().any(|packet| packet.dst.is_ipv6() == *v6));
        let versions: Vec<char> = versions.map(|(version, _)| version).collect();
        let seen = Sightings::read(&mut self.nftables, path, &versions, first, count);
        drop(groups);
        if path == Path::Input {
            self.wires.disown();
        }
        let all = packets.iter().zip(sent).zip(first..);
        all.map(|((packet, sent), tag)| match sent {
            Ok(()) => self.judge(path, packet, tag, &seen),
            Err(why) => Seen::NotAsked(why),
        })
        .collect()
    }

    fn judge(&self, path: Path, packet: &Packet, tag: u32, seen: &Sightings) -> Seen {
        let at = |hook, place| seen.at(hook, place, packet, tag);
        let mut verdict = Seen::Accepted;
        let mut before = None;
        for hook in path.hooks() {
            if at(*hook, Place::First).is_none() {
                let after = before.map_or_else(String::new, |before: Hook| format!(" after {before:?}"));
                return Seen::NotAsked(format!("does not come to {hook:?}{after}"));
            }
            if at(*hook, Place::Last).is_none() {
                verdict = Seen::Dropped(*hook);
                break;
            }
            before = Some(*hook);
        }
        let leaving = match path {
            Path::Input => None,
            Path::Forward => at(Hook::Forward, Place::First),
            Path::Output => at(Hook::Output, Place::First),
        };
        let wanted = self.wires.interface(packet.oif.as_deref()).map(|(_, index)| index);
        if leaving.is_some() && leaving != wanted {
            return Seen::NotAsked(format!("leaves by interface number {leaving:?}"));
        }
        let tracked = if path == Path::Output { Hook::Output } else { Hook::Prerouting };
        match at(tracked, Place::State) {
            // Dropped before conntrack, or not tracked because the ruleset says so.
            None | Some(64) if !packet.is_never_tracked() => verdict,
            Some(state) if state != packet.state.bit() => Seen::NotAsked(format!("state is {state:#x}")),
            None | Some(_) => verdict,
        }
    }

    /// Tags that no set knows yet; the first of `count`.
    fn tags(&mut self, count: u32) -> u32 {
        if self.next_tag + count > record::TAGS {
            self.nft(&record::forget());
            self.next_tag = 1;
        }
        let first = self.next_tag;
        self.next_tag += count;
        first
    }

    fn install(&mut self) {
        self.nft(&record::tables(self.wires.names()));
    }

    fn nft(&self, text: &str) {
        let output = self.wires.run("nft", &["-f", "-"], text);
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A packet's bytes from the network header on; its tag is 1.
pub fn as_sent(path: Path, packet: &Packet) -> Vec<u8> {
    wire::ip_packet(packet, 1, flaw(path, packet))
}

fn flaw(path: Path, packet: &Packet) -> Flaw {
    match (packet.state, path) {
        (State::Invalid, Path::Input | Path::Forward) => Flaw::Checksum,
        (State::Invalid, Path::Output) => Flaw::Length,
        (State::New | State::Established(_) | State::Related | State::Untracked, _) => Flaw::None,
    }
}

/// The rules file that empties a legacy table.
fn empty(table: &str) -> String {
    let chains: &[&str] = match table {
        "raw" => &["PREROUTING", "OUTPUT"],
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    };
    let chains: String = chains.iter().map(|chain| format!(":{chain} ACCEPT [0:0]\n")).collect();
    format!("*{table}\n{chains}COMMIT\n")
}
