//! What a ruleset does to packets: the kernel is asked.
//!
//! `kernel` puts packets to a ruleset in a namespace; `asking` and `states` test that it does so faithfully. `agreement`
//! compares the engine with it: on generated rulesets (`generated`), on the open collection (`open`), and on single
//! claims (`claims`). `second` compares the two evaluators of programs with each other.

mod agreement;
mod asking;
mod claims;
mod concrete;
mod generated;
mod kernel;
mod naive;
mod open;
mod outside;
mod sampling;
mod saved;
mod second;
mod states;
