//! System calls that std has no safe form of. The only module where `unsafe` is allowed.
//!
//! Role: network namespaces and netlink sockets. It decides nothing and knows nothing of firewalls.

pub mod netns;
pub mod socket;
