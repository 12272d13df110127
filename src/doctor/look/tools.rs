//! Where the programs are and what they call themselves.

use super::RunTool;
use crate::doctor::facts::{Tool, ToolFacts, ToolState};
use crate::tool::locate;
use std::path::Path;

pub(super) fn look(run: &RunTool<'_>) -> Vec<ToolFacts> {
    Tool::ALL.map(|tool| ToolFacts { tool, state: state(tool, run) }).into()
}

/// The path at which `tool` was found.
pub(super) fn path_of(tool: Tool, tools: &[ToolFacts]) -> Option<&Path> {
    tools.iter().find(|facts| facts.tool == tool).and_then(|facts| match &facts.state {
        ToolState::Found { path, .. } => Some(path.as_path()),
        ToolState::Missing | ToolState::Broken { .. } => None,
    })
}

fn state(tool: Tool, run: &RunTool<'_>) -> ToolState {
    let Some(path) = locate(tool.program()) else { return ToolState::Missing };
    let Some(flag) = version_flag(tool) else { return ToolState::Found { path, version: None } };
    match run(&path, &[flag]) {
        Ok(stdout) => {
            let text = String::from_utf8_lossy(&stdout);
            let first = text.lines().next().unwrap_or_default().trim().to_owned();
            ToolState::Found { path, version: (!first.is_empty()).then_some(first) }
        }
        Err(reason) => ToolState::Broken { path, reason },
    }
}

fn version_flag(tool: Tool) -> Option<&'static str> {
    match tool {
        Tool::Nft
        | Tool::IptablesNftSave
        | Tool::IptablesNftRestore
        | Tool::Ip6tablesNftSave
        | Tool::Ip6tablesNftRestore
        | Tool::IptablesLegacySave
        | Tool::Ip6tablesLegacySave
        | Tool::Git
        | Tool::Journalctl => Some("--version"),
        // `ipset version` asks the kernel, which loads ip_set; busybox's and musl's getent know no --version.
        Tool::Ipset | Tool::Getent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_run_is_broken_not_missing() {
        let state = state(Tool::Git, &|_, _| Err("killed by SIGSEGV".to_owned()));
        assert!(matches!(state, ToolState::Broken { reason, .. } if reason == "killed by SIGSEGV"));
    }

    #[test]
    fn ipset_is_not_run_for_its_version() {
        let run = |path: &Path, _: &[&str]| panic!("{} was run", path.display());
        assert!(matches!(
            state(Tool::Ipset, &run),
            ToolState::Found { version: None, .. } | ToolState::Missing
        ));
    }
}
