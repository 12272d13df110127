//! The files of a ruleset, between a baseline or a capture and a commit. Pure.

use std::collections::BTreeMap;

/// Relative paths with `/` (for example `nft/inet-filter.nft`) to content, which may be any bytes.
pub type Files = BTreeMap<String, Vec<u8>>;
