//! The transactions of nf_tables, as the kernel announces them: heard, read, looked up and shown.
//!
//! Each test has a network namespace of its own. Needs root.

mod batches;
mod incremental;
mod support;
mod told;
