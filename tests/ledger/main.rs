//! The ledger against real git, real processes and real file systems.
//!
//! Tests that need a file system of their own mount it in a private mount namespace of a child process;
//! nothing is seen outside. They need root, as fwdrift does.

mod approving;
mod roles;
mod support;
mod survival;
mod unusable;
mod written;
