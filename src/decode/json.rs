//! What `nft -j` prints of rules: not to be shown, but to tell an auditor who reads it where it is blind.

use super::selection::TableSelection;
use crate::model::{Name, TableKey, text_from_kernel};
use crate::tool::{Tool, ToolError};
use serde_json::Value;
use std::collections::BTreeMap;

/// The rules of a listing by family, table and chain, in order.
#[derive(Default)]
pub(super) struct Printed {
    chains: BTreeMap<[String; 3], Vec<String>>,
}

/// Lists the calling thread's (scratch) namespace; nothing where `nft -j` fails, as it does on some bytes.
pub(super) fn list() -> Printed {
    let listed = || -> Result<Printed, ToolError> {
        let output = Tool::find("nft")?.scratch().args(["-j", "-s", "list", "ruleset"]).run()?;
        Ok(serde_json::from_str(&text_from_kernel(&output.stdout))
            .map(|value| parse(&value))
            .unwrap_or_default())
    };
    listed().unwrap_or_else(|error| {
        tracing::debug!("nft -j cannot print it: {error}");
        Printed::default()
    })
}

fn parse(listing: &Value) -> Printed {
    let mut printed = Printed::default();
    let objects = listing["nftables"].as_array().into_iter().flatten();
    for rule in objects.filter_map(|object| object.get("rule")) {
        let chain = ["family", "table", "chain"].map(|key| rule[key].as_str().unwrap_or_default().to_owned());
        let words = [&rule["expr"], &rule["comment"]].map(Value::to_string).join(" ");
        printed.chains.entry(chain).or_default().push(words);
    }
    printed
}

impl Printed {
    /// A rule's JSON, if the listing has all the rules of its chain that were made.
    pub(super) fn rule(
        &self,
        key: &TableKey,
        selection: &TableSelection,
        (chain, place): (&Name, usize),
    ) -> Option<String> {
        let places = selection.chains.get(chain)?;
        let rules = self.chains.get(&[key.family.to_string(), key.name.to_string(), chain.to_string()])?;
        let number = places.iter().position(|other| *other == place)?;
        rules.get(number).filter(|_| rules.len() == places.len()).cloned()
    }
}
