//! Which traffic a ruleset lets pass: packet sets, opened and cut, required flows, one packet's way. Pure.
//!
//! ```text
//! Ruleset ─► lower ─► Program ─► walk ─► sets of packets ─► effects, flows, trace, lint
//! ```
//!
//! A rule's bytes are the program of a small register machine (net/netfilter/nf_tables_core.c); [`lower`] runs it on
//! bits that are variables, so that whatever the bytes ask of a packet is known exactly. What has no model becomes a
//! free variable named by its text, never skipped.

pub mod bdd;
pub mod effects;
pub mod evaluate;
pub mod flows;
pub mod lint;
pub mod lower;
pub mod packets;
pub mod program;
pub mod space;
pub mod test;
pub mod trace;
pub mod walk;
pub mod words;
