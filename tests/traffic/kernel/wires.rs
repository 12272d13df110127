//! Namespaces, interfaces, routes and sockets: all that a packet needs to reach a hook of the host under test.
//!
//! Everything is anonymous and goes with its last descriptor. Nothing here knows rulesets or verdicts.

use super::{Packet, Path};
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Output, Stdio};

/// Where packets leave through: one neighbour for all of them, or the neighbour tables (which all namespaces share)
/// would overflow.
const GATEWAY: [&str; 2] = ["198.18.255.254", "fe80::1"];
/// Routes of what the host sends by itself, and of what comes in.
const SENT: u32 = 100;
const RECEIVED: u32 = 200;
/// Marks our own routes in table local (`proto`).
const OURS: u32 = 250;

/// The kernel's settings in the host's namespace.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/ip_nonlocal_bind", "1"),
    ("ipv4/igmp_max_memberships", "10000"),
    ("netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ("netfilter/nf_conntrack_tcp_loose", "0"),
    ("netfilter/nf_conntrack_checksum", "1"),
];
/// The same for each interface: of IPv4, of IPv6.
const OF_INTERFACES: [&[(&str, &str)]; 2] = [
    &[
        ("rp_filter", "0"),
        ("accept_local", "1"),
        ("route_localnet", "1"),
        ("send_redirects", "0"),
        ("log_martians", "0"),
    ],
    &[("forwarding", "1"), ("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0")],
];

/// The host and what surrounds it.
pub struct Wires {
    host: Netns,
    /// Holds the other ends of the host's interfaces.
    _outside: Netns,
    ends: BTreeMap<String, End>,
    first: String,
    routing: Option<Routing>,
    behind: Option<String>,
}

/// One interface of the host.
struct End {
    index: u32,
    /// Frames sent here arrive at the interface.
    frames: OwnedFd,
    ethernet: [u8; 12],
    /// Sockets of the host bound to it, that send whole packets.
    raw: [OwnedFd; 2],
}

/// Where what comes in is routed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// To the host itself, even what is translated to an address that was not asked about (by `lo`: only what was).
    Here,
    /// Out by this interface.
    Through(String),
}

impl Wires {
    pub fn new(interfaces: &[&str]) -> Self {
        let mut names: Vec<&str> = interfaces.iter().copied().filter(|name| *name != "lo").collect();
        if names.is_empty() {
            names.push("eth0");
        }
        let (host, outside) = (Netns::create().unwrap(), Netns::create().unwrap());
        inside(&host, || settings(&["all", "default", "lo"]));
        inside(&outside, || write_setting("ipv6/conf/default/disable_ipv6", "1"));
        let path = format!("/proc/{}/fd/{}", std::process::id(), outside.as_fd().as_raw_fd());
        let mut links = "link set lo up\n".to_owned();
        let [mut peers, mut v4, mut v6, mut hops] = [const { String::new() }; 4];
        let [gateway4, gateway6] = GATEWAY;
        for (number, name) in names.iter().enumerate() {
            let (ours, theirs) = (mac(0, number), mac(1, number));
            let number = number + 1;
            write!(links, "link add name {name} address {} type veth ", text(ours)).unwrap();
            writeln!(links, "peer name p{number} address {} netns {path}", text(theirs)).unwrap();
            writeln!(links, "link set dev {name} addrgenmode none arp off up").unwrap();
            writeln!(peers, "link set p{number} arp off up").unwrap();
            write!(hops, " nexthop via {gateway4} dev {name} onlink").unwrap();
            writeln!(v4, "addr add 198.18.255.{number}/32 dev {name}").unwrap();
            writeln!(v6, "addr add 2001:2:0:ffff::{number}/128 dev {name} nodad").unwrap();
            let metric = 100 + number;
            let through = format!("dev {name} onlink table {SENT} metric {metric}");
            writeln!(v6, "route add default via {gateway6} {through}").unwrap();
            for lines in [&mut v4, &mut v6] {
                writeln!(lines, "rule add iif {name} lookup {RECEIVED} pref 200").unwrap();
            }
        }
        // One route, or a reverse path filter of IPv4 would find the first interface only (net/ipv4/netfilter/nft_fib_ipv4.c
        // asks whether the route that it finds can use the interface; that of IPv6 looks for a route by it).
        writeln!(v4, "route add default table {SENT} metric 100{hops}").unwrap();
        for lines in [&mut v4, &mut v6] {
            writeln!(lines, "route add local default dev lo table {SENT} metric 999").unwrap();
            writeln!(lines, "rule add iif lo lookup {SENT} pref 300").unwrap();
        }
        inside(&host, || ip("-4", &links));
        inside(&outside, || ip("-4", &peers));
        inside(&host, || [ip("-4", &v4), ip("-6", &v6)]);
        let ends = names.iter().copied().enumerate().chain([(usize::MAX, "lo")]);
        let ends = ends.map(|(number, name)| (name.to_owned(), End::new(&host, &outside, number, name)));
        let (ends, first) = (ends.collect(), names[0].to_owned());
        Self { host, _outside: outside, ends, first, routing: None, behind: None }
    }

    /// All interfaces of the host.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ends.keys().map(String::as_str)
    }

    /// The interface of a name, or the first one: name and index. None if there is no such interface.
    pub fn interface(&self, name: Option<&str>) -> Option<(&str, u32)> {
        let (name, end) = self.ends.get_key_value(name.unwrap_or(&self.first))?;
        Some((name, end.index))
    }

    /// Opens a netlink socket of the host.
    pub fn socket(&self, protocol: Protocol) -> Socket {
        inside(&self.host, || Socket::open(Some(protocol)).unwrap())
    }

    /// Runs a program in the host's namespace, with this input.
    pub fn run(&self, program: &str, args: &[&str], input: &str) -> Output {
        inside(&self.host, || piped(program, args, input))
    }

    /// Runs other code there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.host, work)
    }

    /// Sets the routes of what comes in.
    pub fn route(&mut self, to: Routing) {
        if self.routing.as_ref() == Some(&to) {
            return;
        }
        for (version, gateway) in ["-4", "-6"].into_iter().zip(GATEWAY) {
            let mut lines = String::new();
            if self.routing.is_some() {
                writeln!(lines, "route flush table {RECEIVED}").unwrap();
            }
            match &to {
                Routing::Here => writeln!(lines, "route add local default dev lo table {RECEIVED}").unwrap(),
                Routing::Through(name) => {
                    writeln!(lines, "route add default via {gateway} dev {name} onlink table {RECEIVED}")
                        .unwrap();
                }
            }
            self.inside(|| ip(version, &lines));
        }
        self.routing = Some(to);
    }

    /// Puts all sources of IPv6 behind this interface: `fib` and `rpfilter` find the best route, whichever its interface
    /// is, and then compare.
    pub fn put_behind(&mut self, name: &str) {
        if self.behind.as_deref() != Some(name) && name != "lo" {
            let route = format!("default via {} dev {name} onlink table {SENT} metric 1", GATEWAY[1]);
            self.inside(|| ip("-6", &format!("route replace {route}\n")));
            self.behind = Some(name.to_owned());
        }
    }

    /// Makes these addresses the host's own, as `fib` and `addrtype` see it, until [`Self::disown`].
    pub fn own(&self, addresses: &BTreeSet<IpAddr>) {
        let mut lines = [String::new(), String::new()];
        for address in addresses.iter().filter(|address| can_be_owned(address)) {
            let of = usize::from(address.is_ipv6());
            writeln!(lines[of], "route replace local {address} dev lo table local proto {OURS}").unwrap();
        }
        for (version, lines) in ["-4", "-6"].into_iter().zip(lines).filter(|(_, lines)| !lines.is_empty()) {
            self.inside(|| ip(version, &lines));
        }
    }

    /// Takes back what [`Self::own`] did.
    pub fn disown(&self) {
        let line = format!("route flush table local proto {OURS}\n");
        for version in ["-4", "-6"] {
            self.inside(|| ip(version, &line));
        }
    }

    /// Joins the multicast groups among these destinations, as long as the sockets given back live.
    pub fn join(&self, packets: &[&Packet]) -> Vec<OwnedFd> {
        let groups: BTreeSet<(IpAddr, u32)> = packets
            .iter()
            .filter(|packet| packet.dst.is_multicast())
            .filter_map(|packet| Some((packet.dst, self.interface(packet.iif.as_deref())?.1)))
            .collect();
        if groups.is_empty() {
            return Vec::new();
        }
        let datagram = |family| rustix::net::socket(family, SocketType::DGRAM, None).unwrap();
        let (v4, v6) = self.inside(|| (datagram(AddressFamily::INET), datagram(AddressFamily::INET6)));
        for (group, index) in groups {
            // Where it cannot be joined, the packet does not arrive, which is told.
            let _ = match group {
                IpAddr::V4(group) => {
                    sockopt::set_ip_add_membership_with_ifindex(&v4, &group, &Ipv4Addr::UNSPECIFIED, index)
                }
                IpAddr::V6(group) => sockopt::set_ipv6_add_membership(&v6, &group, index),
            };
        }
        vec![v4, v6]
    }

    /// The header of the frame in which a packet comes in.
    pub fn link_header(&self, packet: &Packet) -> Option<[u8; 14]> {
        let (name, _) = self.interface(packet.iif.as_deref())?;
        Some(self.ends[name].link_header(packet.dst))
    }

    /// Sends a packet from outside to the host, or from the host.
    pub fn send(&self, path: Path, packet: &Packet, bytes: &[u8]) -> Result<(), Errno> {
        match path {
            Path::Input | Path::Forward => {
                let (name, _) = self.interface(packet.iif.as_deref()).ok_or(Errno::NODEV)?;
                self.ends[name].send_frame(packet.dst, bytes)
            }
            Path::Output => {
                let (name, _) = self.interface(packet.oif.as_deref()).ok_or(Errno::NODEV)?;
                self.ends[name].send_packet(packet.dst, bytes)
            }
        }
    }
}

impl End {
    fn new(host: &Netns, outside: &Netns, number: usize, name: &str) -> Self {
        let is_lo = name == "lo";
        let peer = format!("p{}", number.wrapping_add(1));
        let (place, far) = if is_lo { (host, name) } else { (outside, peer.as_str()) };
        let frames = inside(place, || {
            let socket = open(AddressFamily::PACKET, None);
            let index = rustix::net::netdevice::name_to_index(&socket, far).unwrap();
            bind_frames(&socket, index);
            socket
        });
        let raw = inside(host, || {
            [AddressFamily::INET, AddressFamily::INET6].map(|family| {
                let socket = open(family, Some(ipproto::RAW));
                bind_to_device(&socket, name);
                socket
            })
        });
        sockopt::set_socket_broadcast(&raw[0], true).unwrap();
        let index = inside(host, || rustix::net::netdevice::name_to_index(&raw[0], name).unwrap());
        let mut ethernet = [0; 12];
        if !is_lo {
            ethernet[..6].copy_from_slice(&mac(0, number));
            ethernet[6..].copy_from_slice(&mac(1, number));
        }
        Self { index, frames, ethernet, raw }
    }

    fn link_header(&self, dst: IpAddr) -> [u8; 14] {
        let mut frame = [0; 14];
        frame[..12].copy_from_slice(&self.ethernet);
        match dst {
            IpAddr::V4(dst) if dst.is_broadcast() => frame[..6].copy_from_slice(&[0xff; 6]),
            IpAddr::V4(dst) if dst.is_multicast() => {
                let [_, b, c, d] = dst.octets();
                frame[..6].copy_from_slice(&[1, 0, 0x5e, b & 0x7f, c, d]);
            }
            IpAddr::V6(dst) if dst.is_multicast() => {
                frame[..2].copy_from_slice(&[0x33; 2]);
                frame[2..6].copy_from_slice(&dst.octets()[12..]);
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        frame[12..].copy_from_slice(if dst.is_ipv4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
        frame
    }

    fn send_frame(&self, dst: IpAddr, bytes: &[u8]) -> Result<(), Errno> {
        let frame = [&self.link_header(dst), bytes].concat();
        rustix::net::send(&self.frames, &frame, SendFlags::empty()).map(drop)
    }

    fn send_packet(&self, dst: IpAddr, bytes: &[u8]) -> Result<(), Errno> {
        let none = SendFlags::empty();
        let [v4, v6] = &self.raw;
        match dst {
            IpAddr::V4(dst) => rustix::net::sendto(v4, bytes, none, &SocketAddrV4::new(dst, 0)),
            IpAddr::V6(dst) => {
                let scope = if dst.is_unicast_link_local() || dst.is_multicast() { self.index } else { 0 };
                rustix::net::sendto(v6, bytes, none, &SocketAddrV6::new(dst, 0, 0, scope))
            }
        }
        .map(drop)
    }
}

fn inside<T: Send>(netns: &Netns, work: impl FnOnce() -> T + Send) -> T {
    netns.run(work).unwrap()
}

/// Whether a route in table local can make the address the host's; the other ones have a meaning of their own.
fn can_be_owned(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0);
    !(address.is_multicast() || address.is_loopback() || address.is_unspecified() || broadcast)
}

fn settings(interfaces: &[&str]) {
    for interface in interfaces {
        for (version, settings) in ["ipv4", "ipv6"].into_iter().zip(OF_INTERFACES) {
            for (name, value) in settings {
                write_setting(&format!("{version}/conf/{interface}/{name}"), value);
            }
        }
    }
    for (name, value) in SETTINGS {
        write_setting(name, value);
    }
}

fn write_setting(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

fn mac(side: u8, number: usize) -> [u8; 6] {
    let [high, low] = (number as u16 + 1).to_be_bytes();
    [2, 0, 0, side, high, low]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn open(family: AddressFamily, protocol: Option<Protocol>) -> OwnedFd {
    rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol).unwrap()
}

/// rustix has no address of packet(7) sockets.
fn bind_frames(socket: &OwnedFd, index: u32) {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer is to an address of the length given.
    #[allow(unsafe_code)]
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// rustix has no form of this option.
fn bind_to_device(socket: &OwnedFd, name: &str) {
    let (level, option) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    let length = name.len() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer is to as many bytes as given.
    #[allow(unsafe_code)]
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, name.as_ptr().cast(), length) };
    assert_eq!(result, 0, "{name}: {}", std::io::Error::last_os_error());
}

fn ip(version: &str, lines: &str) {
    let output = piped("ip", &[version, "-batch", "-"], lines);
    assert!(output.status.success(), "{}\n{lines}", String::from_utf8_lossy(&output.stderr));
}

fn piped(program: &str, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .args(args);
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that ends early says why on its standard error.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
