//! The transactions of nf_tables, as the kernel announces them: heard, read, looked up and shown.
//!
//! Each test has a network namespace of its own. Needs root.

mod batches;
mod cost;
mod incremental;
mod stream;
mod support;
mod told;
