//! The systemd units: what they allow, and a real systemd that runs them, in a container of its own with a network
//! namespace of its own (systemd-nspawn). Needs root and the package systemd-container.

mod container;
mod manager;
mod sandbox;
mod timer;
mod units;
mod watch;
