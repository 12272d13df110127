//! Which traffic a ruleset lets through: sets of packets. Pure: no I/O, no clock.

pub mod bdd;
