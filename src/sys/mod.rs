//! System calls that std has no safe form of. The only module where `unsafe` is allowed.
//!
//! Role: network namespaces, netlink sockets and bpf(2). It decides nothing and knows nothing of firewalls.

pub mod bpf;
pub mod multicast;
pub mod netns;
pub mod socket;
