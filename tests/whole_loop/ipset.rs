//! Sets of ipset: what of them is drift and what is not, in rules of iptables, and in files and words.

mod changes;
mod files;
mod rules;

use crate::support::Host;

#[track_caller]
fn approved(script: &str) -> Host {
    let host = Host::bare();
    host.sh(script);
    host.run(&["init"]).ended(0);
    host
}
