//! What fwdrift does with what it cannot use, or should not trust: one clear error with a hint, exit code
//! 2, nothing on stdout, nothing lost, nothing half-written; and hostile text that stays text.
//!
//! The built program runs with a cleared environment, in network and mount namespaces made for each test.
//! Needs root.

mod arguments;
mod baselines;
mod hostile_text;
mod odd_tables;
mod privileges;
mod raw;
mod repository;
mod restless;
mod support;
mod surroundings;
mod tools;
