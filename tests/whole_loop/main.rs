//! The built program, as a person or cron runs it, against this machine's kernel: real nft, iptables, git and
//! audit records. Each test works in a network namespace of its own, held open by a file descriptor and never
//! named, with a repository in a temporary directory and a cleared environment. Needs root.

mod adopting;
mod approving;
mod arp_bridge;
mod attribution;
mod boot;
mod boot_ufw;
mod check_iptables;
mod check_json;
mod check_legacy;
mod check_names;
mod check_quiet;
mod context;
mod diff;
mod ipset;
mod leaves_no_trace;
mod lint;
mod namespaces;
mod re_encoded;
mod reading;
mod record;
mod record_survives;
mod save_restore;
mod support;
mod traffic;
