//! Connections that are there before a packet comes: entries made and removed through ctnetlink.
//!
//! An entry made so is to the packet path what a handshake leaves behind (tests/traffic/asking.rs compares the two), and
//! the ruleset under test need not be taken away while it is made. Numbers: linux/netfilter/nfnetlink_conntrack.h.

use super::wire::{self, QUOTED_PORTS, VTAG};
use super::{Direction, L4, Packet, State};
use fwdrift::netlink::{AttrWriter, flags, nft::nfgenmsg};
use fwdrift::sys::socket::Socket;
use std::net::IpAddr;

const NEW: u16 = 1 << 8;
const DELETE: u16 = 1 << 8 | 2;
/// `IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED` (linux/netfilter/nf_conntrack_common.h); the kernel sets the last one
/// first, and refuses to have it unset.
const ANSWERED: u32 = 2 | 4 | 8;
/// Seconds; no batch takes as long.
const TIMEOUT: u32 = 600;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    /// Ports; for ICMP both are the identifier.
    sport: u16,
    dport: u16,
    /// ICMP type and code.
    icmp: Option<(u8, u8)>,
}

impl Flow {
    /// The flow that a packet belongs to.
    pub fn of(packet: &Packet) -> Self {
        let (sport, dport, icmp) = match packet.l4 {
            L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport } | L4::Sctp { sport, dport } => {
                (sport, dport, None)
            }
            L4::Icmp { kind, code, id } | L4::Icmp6 { kind, code, id } => (id, id, Some((kind, code))),
            L4::Other(_) => (0, 0, None),
        };
        Self { src: packet.src, dst: packet.dst, protocol: wire::protocol(&packet.l4), sport, dport, icmp }
    }

    /// The flow of the answers. None where nothing answers such a packet.
    pub fn reversed(self) -> Option<Self> {
        let icmp = match (self.protocol, self.icmp) {
            (1, Some((kind, code))) => Some((
                match kind {
                    0 => 8,
                    8 => 0,
                    13 => 14,
                    14 => 13,
                    15 => 16,
                    16 => 15,
                    17 => 18,
                    18 => 17,
                    _ => return None,
                },
                code,
            )),
            (_, Some((kind, code))) => Some((
                match kind {
                    128 => 129,
                    129 => 128,
                    139 => 140,
                    140 => 139,
                    _ => return None,
                },
                code,
            )),
            (_, None) => None,
        };
        Some(Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, icmp, ..self })
    }

    /// The same for both directions: packets with the same key influence one another's state.
    pub fn key(self) -> (IpAddr, u16, IpAddr, u16, u8) {
        let (a, b) = ((self.src, self.sport), (self.dst, self.dport));
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        (low.0, low.1, high.0, high.1, self.protocol)
    }

    fn write(self, kind: u16, out: &mut AttrWriter) {
        out.nested(kind, |tuple| {
            tuple.nested(1, |ip| {
                match self.src {
                    IpAddr::V4(src) => ip.put(1, &src.octets()),
                    IpAddr::V6(src) => ip.put(3, &src.octets()),
                };
                match self.dst {
                    IpAddr::V4(dst) => ip.put(2, &dst.octets()),
                    IpAddr::V6(dst) => ip.put(4, &dst.octets()),
                };
            });
            tuple.nested(2, |proto| {
                proto.put(1, &[self.protocol]);
                match (self.protocol, self.icmp) {
                    (1, Some((kind, code))) => {
                        proto.put(4, &self.sport.to_be_bytes()).put(5, &[kind]).put(6, &[code]);
                    }
                    (_, Some((kind, code))) => {
                        proto.put(7, &self.sport.to_be_bytes()).put(8, &[kind]).put(9, &[code]);
                    }
                    (_, None) => {
                        proto.put(2, &self.sport.to_be_bytes()).put(3, &self.dport.to_be_bytes());
                    }
                }
            });
        });
    }
}

/// Forgets all connections of the socket's namespace.
pub fn flush(socket: &mut Socket) {
    socket.request(DELETE, 0, &[&nfgenmsg(0)], |_| {}).unwrap();
}

/// Makes the connection that the packet's state needs. An error says why there can be none.
pub fn prepare(socket: &mut Socket, packet: &Packet) -> Result<(), String> {
    let flow = Flow::of(packet);
    match packet.state {
        State::New | State::Invalid | State::Untracked => Ok(()),
        State::Established(direction) => {
            let back = flow.reversed().ok_or("nothing answers such a packet")?;
            let original = match direction {
                Direction::Original => (flow, back),
                Direction::Reply => (back, flow),
            };
            create(socket, original, Some(ANSWERED), None)
        }
        State::Related if wire::is_error(&packet.l4) => {
            let (sport, dport) = QUOTED_PORTS;
            let forth = Flow { src: packet.dst, dst: packet.src, protocol: 17, sport, dport, icmp: None };
            let back = forth.reversed().ok_or("udp is answered")?;
            // Another error may be about the same connection; the state seen in the end is checked.
            let _ = create(socket, (forth, back), None, None);
            Ok(())
        }
        State::Related => {
            let back = flow.reversed().ok_or("nothing answers such a packet")?;
            let (sport, dport) = QUOTED_PORTS;
            let master = Flow { protocol: 17, sport, dport, icmp: None, ..flow };
            let master_back = master.reversed().ok_or("udp is answered")?;
            // The same addresses may have it already.
            let _ = create(socket, (master, master_back), Some(ANSWERED), None);
            create(socket, (flow, back), None, Some(master))
        }
    }
}

fn create(
    socket: &mut Socket,
    (forth, back): (Flow, Flow),
    status: Option<u32>,
    master: Option<Flow>,
) -> Result<(), String> {
    let mut attrs = AttrWriter::new();
    forth.write(1, &mut attrs);
    back.write(2, &mut attrs);
    if let Some(status) = status {
        attrs.be32(3, status);
        match forth.protocol {
            // TCP_CONNTRACK_ESTABLISHED
            6 => attrs.nested(4, |info| {
                info.nested(1, |tcp| {
                    tcp.put(1, &[3]);
                });
            }),
            // SCTP_CONNTRACK_ESTABLISHED
            132 => attrs.nested(4, |info| {
                info.nested(3, |sctp| {
                    sctp.put(1, &[4]).be32(2, VTAG).be32(3, VTAG);
                });
            }),
            _ => &mut attrs,
        };
    }
    attrs.be32(7, TIMEOUT);
    if let Some(master) = master {
        master.write(14, &mut attrs);
    }
    let family = if forth.src.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let body = [&nfgenmsg(family)[..], attrs.as_bytes()];
    socket
        .request(NEW, flags::CREATE | flags::EXCL, &body, |_| {})
        .map_err(|error| format!("conntrack refuses the connection: {error}"))
}
