//! What a ruleset does to packets: the kernel is asked.
//!
//! `kernel` puts packets to a ruleset in a namespace; `asking` and `states` test that it does so faithfully.

mod asking;
mod kernel;
mod states;
