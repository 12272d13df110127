//! The open collection of rulesets that nobody on the project wrote.
