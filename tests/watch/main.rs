//! `fwdrift watch` as a process, on real transactions, with real audit records.

#[path = "../whole_loop/support.rs"]
#[allow(dead_code)]
mod support;

mod authors;
mod busy;
mod files;
mod outages;
mod passing;
mod storm;
mod watching;
