//! Findings as text for people and as JSON. Writes styled text always; the caller's stream
//! (`anstream::AutoStream`) takes the colours out where they are not wanted.

use super::finding::{Finding, Status, exit_code};
use crate::report::escape::terminal;
use crate::report::pretty;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{self, Write};

const INDENT: usize = 2;
const STATUS_WIDTH: usize = 4;
/// Where details are broken into lines; names and remedies, which are for copying, never are.
const LINE_WIDTH: usize = 110;
/// The least room that a detail is given, however long the names are.
const LEAST_DETAIL: usize = 40;

/// Writes the findings under their areas, aligned, each remedy below its finding, and a last line of counts.
///
/// # Errors
/// Those of `out`.
pub fn render_text(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| parts(finding).1.len()).max().unwrap_or(0);
    let heading = Style::new().bold();
    let mut area = "";
    for (index, finding) in findings.iter().enumerate() {
        let (its_area, _) = parts(finding);
        if its_area != area {
            let gap = if area.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}{heading}{its_area}{heading:#}")?;
            area = its_area;
        }
        write_finding(finding, width, out)?;
        write_remedy(finding, &findings[..index], out)?;
    }
    writeln!(out, "\n{}", summary(findings))
}

fn write_finding(finding: &Finding, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let style = style(finding.status);
    let (status, (_, thing)) = (finding.status.as_str(), parts(finding));
    let margin = INDENT + STATUS_WIDTH + 2 + width + 2;
    let detail = terminal(&finding.detail);
    let mut lines = wrap(&detail, LINE_WIDTH.saturating_sub(margin).max(LEAST_DETAIL)).into_iter();
    let first = lines.next().unwrap_or_default();
    writeln!(out, "{:INDENT$}{style}{status:STATUS_WIDTH$}{style:#}  {thing:width$}  {first}", "")?;
    lines.try_for_each(|line| writeln!(out, "{:margin$}{line}", ""))
}

/// One remedy often mends several things; it is written once, and referred to after that.
fn write_remedy(finding: &Finding, earlier: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let margin = INDENT + STATUS_WIDTH + 2;
    let Some(remedy) = &finding.remedy else { return Ok(()) };
    if let Some(same) = earlier.iter().find(|other| other.remedy.as_ref() == Some(remedy)) {
        return writeln!(out, "{:margin$}→ as for {}", "", parts(same).1);
    }
    remedy.lines().try_for_each(|line| writeln!(out, "{:margin$}→ {}", "", terminal(line)))
}

/// Breaks a text at spaces into lines of at most `width` characters; a longer word stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { continue };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    lines
}

/// Writes one object, `fwdrift.doctor/1`: `verdict` (`ok`, `missing`), `summary`, `findings`.
///
/// # Errors
/// Those of `out`.
pub fn render_json(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let document = Document {
        schema: "fwdrift.doctor/1",
        verdict: if exit_code(findings) == 0 { "ok" } else { "missing" },
        summary: Counts::of(findings),
        findings,
    };
    out.write_all(pretty(&document).as_bytes())
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    verdict: &'static str,
    summary: Counts,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Counts {
    ok: usize,
    info: usize,
    warn: usize,
    fail: usize,
}

impl Counts {
    fn of(findings: &[Finding]) -> Self {
        let count = |status| findings.iter().filter(|finding| finding.status == status).count();
        Self {
            ok: count(Status::Ok),
            info: count(Status::Info),
            warn: count(Status::Warn),
            fail: count(Status::Fail),
        }
    }
}

fn summary(findings: &[Finding]) -> String {
    let counts = Counts::of(findings);
    match (counts.fail, counts.warn) {
        (0, 0) => "All is well.".to_owned(),
        (0, 1) => "fwdrift works here; 1 thing could be better.".to_owned(),
        (0, warn) => format!("fwdrift works here; {warn} things could be better."),
        (1, 0) => "1 thing that fwdrift needs is missing.".to_owned(),
        (fail, 0) => format!("{fail} things that fwdrift needs are missing."),
        (fail, warn) => format!("Missing, and needed: {fail}. Could be better: {warn}."),
    }
}

fn parts(finding: &Finding) -> (&'static str, &'static str) {
    finding.name.split_once('.').unwrap_or(("", finding.name))
}

fn style(status: Status) -> Style {
    match status {
        Status::Ok => AnsiColor::Green.on_default(),
        Status::Info => AnsiColor::Cyan.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("kernel.release", "6.1.0"),
            Finding::fail("tools.nft", "not found").remedy("apt-get install nftables"),
            Finding::warn("tools.iptables-nft-save", "x\x1b[2J\u{202e}y\nz").remedy("first\nsecond"),
        ]
    }

    fn plain(findings: &[Finding]) -> String {
        let mut bytes = Vec::new();
        render_text(findings, &mut anstream::StripStream::new(&mut bytes)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_aligned_under_its_areas_with_remedies_below() {
        let expect = "\
kernel
  ok    release            6.1.0

tools
  fail  nft                not found
        → apt-get install nftables
  warn  iptables-nft-save  x\\x1b[2J\\u{202e}y\\nz
        → first
        → second

Missing, and needed: 1. Could be better: 1.
";
        assert_eq!(plain(&findings()), expect);
    }

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        let mut bytes = Vec::new();
        render_text(&findings(), &mut bytes).unwrap();
        assert!(!String::from_utf8(bytes.clone()).unwrap().contains("\x1b[2J"));
        bytes.clear();
        render_json(&findings(), &mut bytes).unwrap();
        assert!(!String::from_utf8(bytes).unwrap().contains(['\x1b', '\u{202e}']));
    }

    #[test]
    fn json_has_schema_verdict_counts_and_findings() {
        let mut bytes = Vec::new();
        render_json(&findings(), &mut bytes).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["schema"], "fwdrift.doctor/1");
        assert_eq!(value["verdict"], "missing");
        assert_eq!(value["summary"], serde_json::json!({"ok": 1, "info": 0, "warn": 1, "fail": 1}));
        assert_eq!(value["findings"][1]["status"], "fail");
        assert_eq!(value["findings"][0]["remedy"], serde_json::Value::Null);
        assert!(bytes.ends_with(b"}\n"));
    }

    #[test]
    fn a_remedy_is_written_once_and_a_long_detail_is_broken_at_spaces() {
        let remedy = "apt-get install auditd";
        let text = plain(&[
            Finding::warn("audit.enabled", "word ".repeat(24).trim()).remedy(remedy),
            Finding::warn("audit.log", "x").remedy(remedy),
        ]);
        let expect = format!(
            "audit\n  warn  enabled  {}\n                 {}\n        → {remedy}\n  \
             warn  log      x\n        → as for enabled\n\nfwdrift works here; 2 things could be better.\n",
            "word ".repeat(18).trim(),
            "word ".repeat(6).trim()
        );
        assert_eq!(text, expect);
    }

    #[test]
    fn nothing_to_mend_says_so() {
        assert!(plain(&[Finding::ok("kernel.release", "6.1.0")]).ends_with("\nAll is well.\n"));
    }
}
