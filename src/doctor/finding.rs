//! One thing that was examined, and what came of it.

use serde::Serialize;

/// What came of an examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing to do.
    Info,
    /// fwdrift works, but sees less than it could.
    Warn,
    /// Something that fwdrift needs is missing.
    Fail,
}

impl Status {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of `fwdrift doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, `area.thing`; the area is the heading in text output.
    pub name: &'static str,
    /// What came of it.
    pub status: Status,
    /// One sentence for people.
    pub detail: String,
    /// What mends it: commands, one a line, or one sentence.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, detail: detail.into(), remedy: None }
    }

    pub(super) fn info(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Info, detail: detail.into(), remedy: None }
    }

    pub(super) fn warn(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, detail: detail.into(), remedy: None }
    }

    pub(super) fn fail(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, detail: detail.into(), remedy: None }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// The exit code of `doctor`: 0 when nothing needed is missing, else 2.
pub fn exit_code(findings: &[Finding]) -> u8 {
    if findings.iter().any(|finding| finding.status == Status::Fail) { 2 } else { 0 }
}
