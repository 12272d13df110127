//! fwdrift: who changed this host's firewall, when, and what changed.
#![deny(unsafe_code)]

pub mod ledger;
pub mod model;
