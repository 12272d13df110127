//! Whether nft does its work at all: loads a small table and lists it, in a scratch namespace.
//!
//! Asked only where an answer of nft looks wrong. An nft that prints nothing and ends well would
//! otherwise make an emptied firewall look like an approved one.

use super::{DecodeError, listing};
use crate::collect::nftables;
use crate::model::text_from_kernel;
use crate::sys::netns::Netns;
use crate::tool::{Tool, ToolError};

const TABLE: &str = "table inet fwdrift {\n\tchain c {\n\t\ttcp dport 22 accept\n\t}\n}\n";

/// Fails with what is wrong with nft itself.
pub fn nft_works() -> Result<(), DecodeError> {
    let idle = |what| Err(DecodeError::Unusable(ToolError::Idle { name: "nft".to_owned(), what }));
    let nft = |args: &[&str], input: &str| {
        let tool = Tool::find("nft").map_err(DecodeError::Unusable)?;
        let input = input.as_bytes().to_vec();
        tool.scratch().args(args.iter().copied()).input(input).run().map_err(DecodeError::Unusable)
    };
    Netns::create()?.run(|| {
        nft(&["-f", "-"], TABLE)?;
        let loaded = nftables::capture().map_err(|error| DecodeError::Unreadable(Box::new(error.into())))?;
        if loaded.messages.is_empty() {
            return idle("it loaded nothing");
        }
        let output = nft(&["-s", "-a", "list", "ruleset"], "")?;
        let tables = listing::parse(&text_from_kernel(&output.stdout));
        let chain = tables.get("table inet fwdrift {").and_then(|table| table.blocks.get("chain c {"));
        match chain.and_then(|chain| chain.rules(&[false])).as_deref() {
            Some([rule]) if rule == "tcp dport 22 accept" => Ok(()),
            _ => idle("its listing does not show a table that is there"),
        }
    })?
}
