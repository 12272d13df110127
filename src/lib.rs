//! fwdrift: who changed this host's firewall, when, and what changed.
#![deny(unsafe_code)]

pub mod model;
pub mod report;
