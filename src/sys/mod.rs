//! System calls that std has no safe form of. The only module where `unsafe` is allowed.
//!
//! Role: network namespaces, netlink sockets, bpf(2), the allocator. It decides nothing and knows nothing of firewalls.

pub mod bpf;
pub mod memory;
pub mod multicast;
pub mod netns;
pub mod socket;
pub mod usage;
