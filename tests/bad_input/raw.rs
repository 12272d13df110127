//! Objects that nft itself would not make, sent to the kernel as netlink messages.

use crate::support::Host;
use fwdrift::netlink::nft::{self, chain, elem, expr, kind, msg, nfgenmsg, rule, set, table};
use fwdrift::netlink::{AttrWriter, flags, put_message};
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;

const INET: u8 = 1;
const OWNER: u32 = 2;
/// `NFTNL_UDATA_SET_COMMENT` (libnftnl); the comments of other objects have the number 0.
const SET_COMMENT: u8 = 7;

/// One transaction on tables of the family inet.
pub struct Raw {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Raw {
    pub fn new() -> Self {
        let mut raw = Self { bytes: Vec::new(), sequence: 0 };
        raw.frame(nft::BATCH_BEGIN);
        raw
    }

    fn frame(&mut self, message: u16) {
        self.sequence += 1;
        let header = [0, 0, 0, nft::SUBSYSTEM as u8];
        put_message(&mut self.bytes, message, flags::REQUEST, self.sequence, &[&header]);
    }

    fn push(mut self, message: u8, attrs: &AttrWriter) -> Self {
        self.sequence += 1;
        let flags = flags::REQUEST | flags::ACK | flags::CREATE | flags::APPEND;
        let body: [&[u8]; 2] = [&nfgenmsg(INET), attrs.as_bytes()];
        put_message(&mut self.bytes, kind(message), flags, self.sequence, &body);
        self
    }

    pub fn table(self, name: &[u8], comment: &[u8]) -> Self {
        let mut attrs = AttrWriter::new();
        attrs.string(table::NAME, name);
        put_comment(&mut attrs, table::USERDATA, 0, comment);
        self.push(msg::NEWTABLE, &attrs)
    }

    pub fn owned_table(self, name: &[u8]) -> Self {
        let mut attrs = AttrWriter::new();
        attrs.string(table::NAME, name).be32(table::FLAGS, OWNER);
        self.push(msg::NEWTABLE, &attrs)
    }

    pub fn chain(self, table: &[u8], name: &[u8], comment: &[u8]) -> Self {
        let mut attrs = AttrWriter::new();
        attrs.string(chain::TABLE, table).string(chain::NAME, name);
        put_comment(&mut attrs, chain::USERDATA, 0, comment);
        self.push(msg::NEWCHAIN, &attrs)
    }

    /// A rule of these expressions.
    pub fn rule(self, table: &[u8], chain: &[u8], expressions: &[AttrWriter], comment: &[u8]) -> Self {
        let mut attrs = AttrWriter::new();
        attrs.string(rule::TABLE, table).string(rule::CHAIN, chain);
        attrs.nested(rule::EXPRESSIONS, |list| {
            for expression in expressions {
                list.nested(nft::LIST_ELEM, |one| {
                    one.raw(expression.as_bytes());
                });
            }
        });
        put_comment(&mut attrs, rule::USERDATA, 0, comment);
        self.push(msg::NEWRULE, &attrs)
    }

    /// A set of IPv4 addresses with one element.
    pub fn set(self, table: &[u8], name: &[u8], comment: &[u8], element_comment: &[u8]) -> Self {
        const IPV4_ADDR: u32 = 7;
        let mut attrs = AttrWriter::new();
        attrs.string(set::TABLE, table).string(set::NAME, name).be32(set::FLAGS, 0);
        attrs.be32(set::KEY_TYPE, IPV4_ADDR).be32(set::KEY_LEN, 4).be32(set::ID, 1);
        put_comment(&mut attrs, set::USERDATA, SET_COMMENT, comment);
        let raw = self.push(msg::NEWSET, &attrs);
        let mut attrs = AttrWriter::new();
        attrs.string(elem::LIST_TABLE, table).string(elem::LIST_SET, name);
        attrs.nested(elem::LIST_ELEMENTS, |list| {
            list.nested(nft::LIST_ELEM, |one| {
                one.nested(elem::KEY, |key| {
                    key.put(expr::DATA_VALUE, &[192, 0, 2, 7]);
                });
                put_comment(one, elem::USERDATA, 0, element_comment);
            });
        });
        raw.push(msg::NEWSETELEM, &attrs)
    }

    /// Commits it. The socket owns tables with the owner flag.
    pub fn send(mut self, host: &Host) -> Socket {
        let last = self.sequence;
        self.frame(nft::BATCH_END);
        let netns = Netns::open(&host.netns()).unwrap();
        let work = || {
            let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).unwrap();
            let refusals = socket.batch(&self.bytes, 1, last).unwrap();
            assert!(refusals.is_empty(), "{refusals:?}");
            socket
        };
        netns.run(work).unwrap()
    }
}

/// User data: a list of type, length, value (libnftnl's udata.c).
fn put_comment(attrs: &mut AttrWriter, kind: u16, number: u8, comment: &[u8]) {
    if !comment.is_empty() {
        let length = u8::try_from(comment.len() + 1).unwrap();
        attrs.put(kind, &[&[number, length], comment, b"\0"].concat());
    }
}

fn expression(name: &[u8], fill: impl FnOnce(&mut AttrWriter)) -> AttrWriter {
    let mut attrs = AttrWriter::new();
    attrs.string(expr::NAME, name).nested(expr::DATA, fill);
    attrs
}

/// `accept`
pub fn accept() -> AttrWriter {
    verdict(1, b"")
}

/// `jump CHAIN`
pub fn jump(chain: &[u8]) -> AttrWriter {
    verdict(-3, chain)
}

fn verdict(code: i32, chain: &[u8]) -> AttrWriter {
    expression(b"immediate", |data| {
        data.be32(expr::IMMEDIATE_DREG, 0).nested(expr::IMMEDIATE_DATA, |value| {
            value.nested(expr::DATA_VERDICT, |verdict| {
                verdict.put(expr::VERDICT_CODE, &code.to_be_bytes());
                if !chain.is_empty() {
                    verdict.string(expr::VERDICT_CHAIN, chain);
                }
            });
        });
    })
}

/// `log prefix TEXT`
pub fn log(prefix: &[u8]) -> AttrWriter {
    expression(b"log", |data| {
        data.string(expr::LOG_PREFIX, prefix);
    })
}

/// `iifname NAME`: all 16 bytes are compared, also those after a zero.
pub fn iifname(name: &[u8]) -> [AttrWriter; 2] {
    const REGISTER: u32 = 1;
    const META_IIFNAME: u32 = 6;
    const SREG: u16 = 1;
    let mut padded = name.to_vec();
    padded.resize(16, 0);
    [
        expression(b"meta", |data| {
            data.be32(expr::META_DREG, REGISTER).be32(expr::META_KEY, META_IIFNAME);
        }),
        expression(b"cmp", |data| {
            data.be32(SREG, REGISTER).be32(expr::CMP_OP, 0).nested(expr::CMP_DATA, |value| {
                value.put(expr::DATA_VALUE, &padded);
            });
        }),
    ]
}
