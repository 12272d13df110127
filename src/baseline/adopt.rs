//! Takes files that somebody wrote as a baseline: nft syntax, or the format of iptables-save, arptables-save,
//! ebtables-save or `ipset save`.

use super::include::{self, IncludeError};
use super::layout::iptables_path;
use crate::model::{Backend, Family, Files};
use crate::tool::Tool;
use std::path::{Path, PathBuf};

/// Larger files are refused: the largest real ruleset known has 80 MB.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Why a file cannot be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{0} is empty or holds nothing but comments")]
    Empty(PathBuf),
    /// It is larger than any ruleset.
    #[error("{0} is larger than 256 MiB")]
    TooLarge(PathBuf),
    /// It is not text that the tools could read.
    #[error("{0} holds NUL bytes: it is not a ruleset in text form")]
    Binary(PathBuf),
    /// Something that it includes.
    #[error(transparent)]
    Include(#[from] IncludeError),
    /// Two files would be one in the baseline.
    #[error("{path} and another file would both be {target} of the baseline")]
    Twice {
        /// The second file.
        path: PathBuf,
        /// The path in the baseline.
        target: String,
    },
}

impl AdoptError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Twice { .. } => Some("join the files, or give them different names".into()),
            Self::Empty(_) => Some("to approve a host without rules, run `init` without --from".into()),
            Self::Include(error) => error.hint(),
            Self::Unreadable { .. } => Some("name a file that root can read".into()),
            Self::TooLarge(_) => {
                Some("split it, or run `init` without --from on a host that has it loaded".into())
            }
            Self::Binary(_) => Some("write the rules with `nft list ruleset` or iptables-save".into()),
        }
    }
}

/// The baseline that these files make.
pub fn adopt(paths: &[PathBuf]) -> Result<Files, AdoptError> {
    let mut files = Files::new();
    for path in paths {
        let content = read(path)?;
        let target = if is_iptables_save(&content) {
            let family = save_family(path, &content);
            iptables_path(host_backend(family), family)
        } else if is_ipset_save(&content) {
            format!("ipset/{}.ipset", stem(path))
        } else {
            files.extend(include::adopt(path, &content)?);
            format!("nft/{}.nft", stem(path))
        };
        if files.insert(target.clone(), content).is_some() {
            return Err(AdoptError::Twice { path: path.clone(), target });
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, AdoptError> {
    let unreadable = |source| AdoptError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
        return Err(AdoptError::TooLarge(path.to_owned()));
    }
    let content = std::fs::read(path).map_err(unreadable)?;
    if content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).all(|l| l.is_empty() || l[0] == b'#') {
        return Err(AdoptError::Empty(path.to_owned()));
    }
    if content.contains(&0) {
        return Err(AdoptError::Binary(path.to_owned()));
    }
    Ok(content)
}

/// The first line of iptables-save and its siblings that is no comment begins with `*TABLE`; no nft statement does.
fn is_iptables_save(content: &[u8]) -> bool {
    first_statement(content).is_some_and(|line| line.starts_with(b"*"))
}

/// `ipset save` makes a set first: `create NAME TYPE …`, and all types have a colon in their names. nft's
/// `create table`, `create chain` and so on have none there.
fn is_ipset_save(content: &[u8]) -> bool {
    let Some(line) = first_statement(content) else { return false };
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let kinds = [&b"bitmap:"[..], b"hash:", b"list:"];
    words.next() == Some(b"create") && words.skip(1).any(|word| kinds.iter().any(|k| word.starts_with(k)))
}

/// The first line that says something.
fn first_statement(content: &[u8]) -> Option<&[u8]> {
    let mut lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// Each program names itself in its comment; else the file's name tells, else the format: only iptables-save ends a
/// table with COMMIT.
fn save_family(path: &Path, content: &[u8]) -> Family {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let text = String::from_utf8_lossy(content);
    let says = |word: &str| text.lines().take(3).any(|line| line.starts_with('#') && line.contains(word));
    let knows = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if text.lines().any(|line| line.trim_end() == "COMMIT") {
        iptables_family(path, content)
    } else if says("arptables") {
        Family::Arp
    } else if says("ebtables") {
        Family::Bridge
    } else if says("tables-save") {
        iptables_family(path, content)
    } else if name.contains("arptables") {
        Family::Arp
    } else if name.contains("ebtables") {
        Family::Bridge
    } else if knows(&[
        "--opcode",
        "--h-length",
        "--h-type",
        "--proto-type",
        "--src-mac",
        "--dst-mac",
        "--mangle-",
    ]) {
        Family::Arp
    } else {
        Family::Bridge
    }
}

/// `ip6tables-save` names itself in its comment; else Debian's and Red Hat's file names, else an address.
fn iptables_family(path: &Path, content: &[u8]) -> Family {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let text = String::from_utf8_lossy(content);
    let says_v6 = text.lines().take(3).any(|line| line.contains("ip6tables-save"));
    let named_v6 = name.contains("v6") || name.contains("ip6");
    let uses_v6 = ["ipv6-icmp", "icmp6-", "/128", "::/"].iter().any(|word| text.contains(word));
    if says_v6 || named_v6 || uses_v6 { Family::Ip6 } else { Family::Ip }
}

/// The backend that this host's `iptables`, `arptables` or `ebtables` command uses: those of nf_tables say
/// `(nf_tables)` behind their version, and arptables-legacy says nothing.
fn host_backend(family: Family) -> Backend {
    let program = match family {
        Family::Arp => "arptables",
        Family::Bridge => "ebtables",
        _ => "iptables",
    };
    let version = Tool::find(program).and_then(|tool| tool.args(["--version"]).run());
    match version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) {
        Ok(version) if version.contains("legacy") => Backend::Legacy,
        Ok(version) if version.starts_with("arptables") && !version.contains("nf_tables") => Backend::Legacy,
        _ => Backend::NfTables,
    }
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let safe: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    match safe.trim_start_matches('.') {
        "" => "ruleset".to_owned(),
        safe => safe.to_owned(),
    }
}
