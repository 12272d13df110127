//! Numbers of the nf_tables netlink interface, from linux/netfilter/nf_tables.h (kernel 6.18).

/// `NFNL_SUBSYS_NFTABLES` (linux/netfilter/nfnetlink.h).
pub const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
pub const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub const BATCH_END: u16 = 0x11;
/// Length of `struct nfgenmsg`, which precedes the attributes of every message.
pub const NFGENMSG: usize = 4;

/// `enum nf_tables_msg_types`.
pub mod msg {
    #![allow(missing_docs)]
    pub const NEWTABLE: u8 = 0;
    pub const GETTABLE: u8 = 1;
    pub const DELTABLE: u8 = 2;
    pub const NEWCHAIN: u8 = 3;
    pub const GETCHAIN: u8 = 4;
    pub const DELCHAIN: u8 = 5;
    pub const NEWRULE: u8 = 6;
    pub const GETRULE: u8 = 7;
    pub const DELRULE: u8 = 8;
    pub const NEWSET: u8 = 9;
    pub const GETSET: u8 = 10;
    pub const DELSET: u8 = 11;
    pub const NEWSETELEM: u8 = 12;
    pub const GETSETELEM: u8 = 13;
    pub const DELSETELEM: u8 = 14;
    pub const NEWGEN: u8 = 15;
    pub const GETGEN: u8 = 16;
    pub const NEWOBJ: u8 = 18;
    pub const GETOBJ: u8 = 19;
    pub const DELOBJ: u8 = 20;
    pub const NEWFLOWTABLE: u8 = 22;
    pub const GETFLOWTABLE: u8 = 23;
    pub const DELFLOWTABLE: u8 = 24;
    pub const DESTROYTABLE: u8 = 26;
    pub const DESTROYCHAIN: u8 = 27;
    pub const DESTROYRULE: u8 = 28;
    pub const DESTROYSET: u8 = 29;
    pub const DESTROYSETELEM: u8 = 30;
    pub const DESTROYOBJ: u8 = 31;
    pub const DESTROYFLOWTABLE: u8 = 32;
}

/// `NFTA_LIST_ELEM`.
pub const LIST_ELEM: u16 = 1;
/// `NFTA_GEN_ID`.
pub const GEN_ID: u16 = 1;
/// `NFTA_GEN_PROC_PID`, a thread's id.
pub const GEN_PROC_PID: u16 = 2;
/// `NFTA_GEN_PROC_NAME`, that thread's name.
pub const GEN_PROC_NAME: u16 = 3;
/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h), as a bit of `nl_groups`.
pub const GROUP: u32 = 1 << 6;

/// `enum nft_table_attributes`.
pub mod table {
    #![allow(missing_docs)]
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
    pub const USE: u16 = 3;
    pub const HANDLE: u16 = 4;
    pub const PAD: u16 = 5;
    pub const USERDATA: u16 = 6;
    pub const OWNER: u16 = 7;
    /// `NFT_TABLE_F_OWNER`: the table ends with the process that made it.
    pub const F_OWNER: u32 = 1 << 1;
}

/// `enum nft_chain_attributes`, `enum nft_hook_attributes`.
pub mod chain {
    #![allow(missing_docs)]
    pub const TABLE: u16 = 1;
    pub const HANDLE: u16 = 2;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const USE: u16 = 6;
    pub const TYPE: u16 = 7;
    pub const COUNTERS: u16 = 8;
    pub const PAD: u16 = 9;
    pub const FLAGS: u16 = 10;
    pub const ID: u16 = 11;
    pub const USERDATA: u16 = 12;
    pub const HOOK_NUM: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const HOOK_DEV: u16 = 3;
    pub const HOOK_DEVS: u16 = 4;
    /// `NFT_CHAIN_BINDING`: an anonymous chain that belongs to one rule.
    pub const F_BINDING: u32 = 1 << 2;
}

/// `enum nft_rule_attributes`, `enum nft_rule_compat_attributes`.
pub mod rule {
    #![allow(missing_docs)]
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const COMPAT: u16 = 5;
    pub const POSITION: u16 = 6;
    pub const USERDATA: u16 = 7;
    pub const PAD: u16 = 8;
    pub const COMPAT_PROTO: u16 = 1;
    pub const COMPAT_FLAGS: u16 = 2;
    pub const CHAIN_ID: u16 = 11;
}

/// `enum nft_set_attributes`, `enum nft_set_flags`.
pub mod set {
    #![allow(missing_docs)]
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LEN: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DESC: u16 = 9;
    pub const DESC_SIZE: u16 = 1;
    pub const ID: u16 = 10;
    pub const USERDATA: u16 = 13;
    pub const PAD: u16 = 14;
    pub const OBJ_TYPE: u16 = 15;
    pub const HANDLE: u16 = 16;
    pub const EXPR: u16 = 17;
    pub const EXPRESSIONS: u16 = 18;
    pub const TYPE: u16 = 19;
    pub const COUNT: u16 = 20;
    pub const F_ANONYMOUS: u32 = 0x1;
    pub const F_CONSTANT: u32 = 0x2;
    pub const F_INTERVAL: u32 = 0x4;
    pub const F_MAP: u32 = 0x8;
    pub const F_TIMEOUT: u32 = 0x10;
    pub const F_EVAL: u32 = 0x20;
    pub const F_OBJECT: u32 = 0x40;
    pub const F_CONCAT: u32 = 0x80;
}

/// `enum nft_set_elem_list_attributes`, `enum nft_set_elem_attributes`, `enum nft_set_elem_flags`.
pub mod elem {
    #![allow(missing_docs)]
    pub const LIST_TABLE: u16 = 1;
    pub const LIST_SET: u16 = 2;
    pub const LIST_ELEMENTS: u16 = 3;
    pub const LIST_SET_ID: u16 = 4;
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const TIMEOUT: u16 = 4;
    pub const EXPIRATION: u16 = 5;
    pub const USERDATA: u16 = 6;
    pub const EXPR: u16 = 7;
    pub const PAD: u16 = 8;
    pub const OBJREF: u16 = 9;
    pub const KEY_END: u16 = 10;
    pub const EXPRESSIONS: u16 = 11;
    pub const F_INTERVAL_END: u32 = 0x1;
    pub const F_CATCHALL: u32 = 0x2;
}

/// `enum nft_object_attributes`, object types.
pub mod object {
    #![allow(missing_docs)]
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const TYPE: u16 = 3;
    pub const DATA: u16 = 4;
    pub const USE: u16 = 5;
    pub const HANDLE: u16 = 6;
    pub const PAD: u16 = 7;
    pub const USERDATA: u16 = 8;
    pub const T_COUNTER: u32 = 1;
    pub const T_QUOTA: u32 = 2;
    pub const T_CT_HELPER: u32 = 3;
    pub const T_LIMIT: u32 = 4;
    pub const T_CONNLIMIT: u32 = 5;
    pub const T_TUNNEL: u32 = 6;
    pub const T_CT_TIMEOUT: u32 = 7;
    pub const T_SECMARK: u32 = 8;
    pub const T_CT_EXPECT: u32 = 9;
    pub const T_SYNPROXY: u32 = 10;
}

/// `enum nft_flowtable_attributes`.
pub mod flowtable {
    #![allow(missing_docs)]
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const HOOK: u16 = 3;
    pub const USE: u16 = 4;
    pub const HANDLE: u16 = 5;
    pub const PAD: u16 = 6;
    pub const HOOK_DEVS: u16 = 3;
}

/// Attributes of expressions (`enum nft_expr_attributes` and those of each expression).
pub mod expr {
    #![allow(missing_docs)]
    pub const NAME: u16 = 1;
    pub const DATA: u16 = 2;
    pub const QUOTA_CONSUMED: u16 = 4;
    pub const LOOKUP_SET: u16 = 1;
    pub const LOOKUP_SET_ID: u16 = 4;
    pub const DYNSET_SET_NAME: u16 = 1;
    pub const DYNSET_TIMEOUT: u16 = 6;
    pub const DYNSET_EXPR: u16 = 7;
    pub const DYNSET_FLAGS: u16 = 9;
    pub const DYNSET_EXPRESSIONS: u16 = 10;
    pub const EXTHDR_DREG: u16 = 1;
    pub const EXTHDR_OFFSET: u16 = 3;
    pub const EXTHDR_LEN: u16 = 4;
    pub const EXTHDR_FLAGS: u16 = 5;
    pub const EXTHDR_SREG: u16 = 7;
    pub const OSF_FLAGS: u16 = 3;
    pub const OBJREF_IMM_TYPE: u16 = 1;
    pub const OBJREF_IMM_NAME: u16 = 2;
    pub const OBJREF_SET_NAME: u16 = 4;
    pub const IMMEDIATE_DREG: u16 = 1;
    pub const IMMEDIATE_DATA: u16 = 2;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
    pub const FLOW_TABLE_NAME: u16 = 1;
    pub const META_DREG: u16 = 1;
    pub const META_KEY: u16 = 2;
    pub const PAYLOAD_BASE: u16 = 2;
    pub const PAYLOAD_OFFSET: u16 = 3;
    pub const PAYLOAD_LEN: u16 = 4;
    pub const CMP_OP: u16 = 2;
    pub const CMP_DATA: u16 = 3;
    pub const LOG_PREFIX: u16 = 2;
    pub const XT_NAME: u16 = 1;
    pub const XT_REV: u16 = 2;
    pub const XT_INFO: u16 = 3;
}

/// `nlmsg_type` of an nf_tables message.
pub fn kind(message: u8) -> u16 {
    SUBSYSTEM << 8 | u16::from(message)
}

/// `struct nfgenmsg` for a family.
pub fn nfgenmsg(family: u8) -> [u8; NFGENMSG] {
    [family, 0, 0, 0]
}
