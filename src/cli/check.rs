//! `fwdrift check`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::{pipeline, report};

/// Compares and prints; the exit code is the verdict.
pub fn run(settings: &Settings, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("check", &[Format::Text, Format::Json])?;
    let result = pipeline::check(settings)?.result;
    let text = match settings.format {
        Format::Json => report::check::json(&result),
        Format::Text | Format::Markdown => report::check::text(&result, &output.options()),
    };
    output.print(&text)?;
    Ok(result.verdict.exit_code())
}
