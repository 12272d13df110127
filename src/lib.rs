//! fwdrift: who changed this host's firewall, when, and what changed.
#![deny(unsafe_code)]

pub mod attribute;
pub mod evidence;
pub mod model;
