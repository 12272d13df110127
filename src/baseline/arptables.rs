//! Loads a file of arptables-legacy into the calling thread's (scratch) namespace, line by line.
//!
//! `arptables-legacy-restore` is a script that runs whatever `/usr/sbin/arptables` is, mostly arptables-nft, and
//! runs it through a shell. So the lines are given to `arptables-legacy` here, as words.

use super::compile::CompileError;
use crate::tool::{Tool, ToolError};

/// Runs `program` for each line of `content`, the file at `path` of the baseline.
pub(super) fn load(program: &str, path: &str, content: &[u8]) -> Result<(), CompileError> {
    let mut table = "filter".to_owned();
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
            continue;
        }
        let tool = Tool::find(program).map_err(CompileError::Tool)?;
        match tool.scratch().args(["-t", &table]).args(words(line)).run() {
            Ok(_) => {}
            Err(ToolError::Failed { stderr, .. }) => {
                let message = format!("line {number}: {}", stderr.trim());
                return Err(CompileError::Refused { path: path.to_owned(), message });
            }
            Err(error) => return Err(CompileError::Tool(error)),
        }
    }
    Ok(())
}

/// The words of a line, as arptables takes them.
fn words(line: &str) -> Vec<&str> {
    let Some(chain) = line.strip_prefix(':') else { return line.split_whitespace().collect() };
    let mut parts = chain.split_whitespace();
    match (parts.next().unwrap_or_default(), parts.next()) {
        (name, Some(policy)) if policy != "-" => vec!["-P", name, policy],
        (name, _) => vec!["-N", name],
    }
}
