//! fwdrift: who changed this host's firewall, when, and what changed.
#![deny(unsafe_code)]

pub mod baseline;
pub mod collect;
pub mod compare;
pub mod decode;
pub mod model;
pub mod netlink;
pub mod normalise;
pub mod sys;
