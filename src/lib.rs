//! fwdrift: who changed this host's firewall, when, and what changed.
#![deny(unsafe_code)]

pub mod attribute;
pub mod baseline;
pub mod boot;
pub mod cli;
pub mod collect;
pub mod compare;
pub mod config;
pub mod decode;
pub mod demo;
pub mod doctor;
pub mod evidence;
pub mod ledger;
pub mod model;
pub mod netlink;
pub mod normalise;
pub mod notify;
pub mod pipeline;
pub mod policy;
pub mod record;
pub mod report;
pub mod service;
pub mod sys;
pub mod tool;
pub mod traffic;
pub mod watch;
