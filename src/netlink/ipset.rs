//! Numbers of the ipset netlink interface, from linux/netfilter/ipset/ip_set.h (kernel 6.18).

/// `NFNL_SUBSYS_IPSET` (linux/netfilter/nfnetlink.h).
pub const SUBSYSTEM: u16 = 6;
/// `IPSET_PROTOCOL` since Linux 4.20: set headers tell their index.
pub const PROTOCOL: u8 = 7;
/// `IPSET_PROTOCOL` before, and `IPSET_PROTOCOL_MIN` since.
pub const PROTOCOL_MIN: u8 = 6;
/// `IPSET_ERR_PROTOCOL`, in the place of an errno.
pub const ERR_PROTOCOL: i32 = 4097;
/// `IPSET_INVALID_ID`: no set.
pub const NO_INDEX: u16 = 0xffff;
/// `IPSET_MAX_TIMEOUT` in seconds.
pub const LONGEST_TIMEOUT: u32 = 2_147_483;

/// What an error number of ipset's own means (`enum ipset_errno`, and those of list:set); none for the system's.
pub fn error_text(code: i32) -> Option<&'static str> {
    Some(match code {
        4097 => "it does not speak this version of ipset's protocol",
        4098 => "it has no such type of set",
        4099 => "there are too many sets",
        4103 => "it is there already",
        4352 => "a set that it lists does not exist, or its type is refused there",
        4356 => "the list is full",
        4096..=4607 => "it is not a valid set or member",
        _ => return None,
    })
}

/// `enum ipset_cmd`.
pub mod msg {
    #![allow(missing_docs)]
    pub const CREATE: u8 = 2;
    pub const LIST: u8 = 7;
    pub const ADD: u8 = 9;
    pub const TYPE: u8 = 13;
}

/// Attributes of a command, and `IPSET_ATTR_FLAGS`.
pub mod attr {
    #![allow(missing_docs)]
    pub const PROTOCOL: u16 = 1;
    pub const SETNAME: u16 = 2;
    pub const TYPENAME: u16 = 3;
    pub const REVISION: u16 = 4;
    pub const FAMILY: u16 = 5;
    pub const FLAGS: u16 = 6;
    pub const DATA: u16 = 7;
    pub const ADT: u16 = 8;
    pub const LINENO: u16 = 9;
    pub const INDEX: u16 = 11;
    /// `IPSET_FLAG_LIST_HEADER`: no members.
    pub const F_LIST_HEADER: u32 = 1 << 2;
}

/// Attributes of a definition or of a member, inside `IPSET_ATTR_DATA`.
pub mod data {
    #![allow(missing_docs)]
    pub const IP: u16 = 1;
    pub const IP_TO: u16 = 2;
    pub const CIDR: u16 = 3;
    pub const PORT: u16 = 4;
    pub const PORT_TO: u16 = 5;
    pub const TIMEOUT: u16 = 6;
    pub const PROTO: u16 = 7;
    pub const CADT_FLAGS: u16 = 8;
    pub const LINENO: u16 = 9;
    pub const MARK: u16 = 10;
    pub const MARKMASK: u16 = 11;
    pub const BITMASK: u16 = 12;
    // Of a definition.
    pub const INITVAL: u16 = 17;
    pub const HASHSIZE: u16 = 18;
    pub const MAXELEM: u16 = 19;
    pub const BUCKETSIZE: u16 = 21;
    pub const RESIZE: u16 = 22;
    pub const SIZE: u16 = 23;
    pub const ELEMENTS: u16 = 24;
    pub const REFERENCES: u16 = 25;
    pub const MEMSIZE: u16 = 26;
    // Of a member.
    pub const ETHER: u16 = 17;
    pub const NAME: u16 = 18;
    pub const IP2: u16 = 20;
    pub const CIDR2: u16 = 21;
    pub const IP2_TO: u16 = 22;
    pub const IFACE: u16 = 23;
    pub const BYTES: u16 = 24;
    pub const PACKETS: u16 = 25;
    pub const COMMENT: u16 = 26;
    pub const SKBMARK: u16 = 27;
    pub const SKBPRIO: u16 = 28;
    pub const SKBQUEUE: u16 = 29;
    pub const PAD: u16 = 30;
    /// `IPSET_FLAG_PHYSDEV`: a member whose interface is a port of a bridge.
    pub const F_PHYSDEV: u32 = 1 << 1;
    /// `AHASH_MAX_SIZE` (net/netfilter/ipset/ip_set_hash_gen.h).
    pub const DEFAULT_BUCKETSIZE: u8 = 12;
}

/// `nlmsg_type` of an ipset message.
pub fn kind(message: u8) -> u16 {
    SUBSYSTEM << 8 | u16::from(message)
}
