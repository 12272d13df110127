//! Which file of a baseline holds what. Pure.
//!
//! `nft/*.nft` native syntax, one file a table where fwdrift wrote it, authored files as they are;
//! `nft/include/**` what authored files include; `nft/*.exact` beside a captured table whose text does
//! not say all; `iptables/{nft,legacy}-v{4,6}.rules` in the format of iptables-save, and
//! `{arptables,ebtables}/{nft,legacy}.rules` in that of arptables-save and ebtables-save; `ipset/*.ipset` in the
//! format of `ipset save`, one file a set where fwdrift wrote it, and `ipset/*.exact` beside a set whose
//! text does not say all; `context/sysctl.conf` and `context/bpf.conf`, lines of `NAME = VALUE`.

use crate::model::{Backend, Capture, Family, Files, Name, TableKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// First line of a file that fwdrift wrote itself and may write again.
const CAPTURED: &str = "# captured by fwdrift, one table a file";
const CAPTURED_SET: &str = "# captured by fwdrift, one set a file";
const EXACT: &str =
    "# Exact form of the table of the same name, for what its text does not say (fwdrift-exact/1)";

/// The role of a file in a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// nft syntax, loaded with `nft -f`.
    Nft,
    /// Included by an nft file.
    NftInclude,
    /// The exact form of the captured table or set in the file of the same stem ([`text_path`]).
    Exact,
    /// The format of `ipset save`.
    Ipset,
    /// The format of iptables-save and, by its family, of arptables-save and ebtables-save.
    Iptables(Backend, Family),
    /// Kernel settings or BPF programs: `NAME = VALUE` lines.
    Context(Backend),
    /// Not a ruleset (a README, say).
    Other,
}

/// What a path is for.
pub fn role(path: &str) -> Role {
    match path.split_once('/') {
        Some(("nft", rest)) if rest.starts_with("include/") => Role::NftInclude,
        Some(("nft", rest)) if rest.ends_with(".nft") => Role::Nft,
        Some(("nft" | "ipset", rest)) if rest.ends_with(".exact") => Role::Exact,
        Some(("ipset", rest)) if rest.ends_with(".ipset") => Role::Ipset,
        Some(("iptables", "nft-v4.rules")) => Role::Iptables(Backend::NfTables, Family::Ip),
        Some(("iptables", "nft-v6.rules")) => Role::Iptables(Backend::NfTables, Family::Ip6),
        Some(("iptables", "legacy-v4.rules")) => Role::Iptables(Backend::Legacy, Family::Ip),
        Some(("iptables", "legacy-v6.rules")) => Role::Iptables(Backend::Legacy, Family::Ip6),
        Some(("arptables", "nft.rules")) => Role::Iptables(Backend::NfTables, Family::Arp),
        Some(("arptables", "legacy.rules")) => Role::Iptables(Backend::Legacy, Family::Arp),
        Some(("ebtables", "nft.rules")) => Role::Iptables(Backend::NfTables, Family::Bridge),
        Some(("ebtables", "legacy.rules")) => Role::Iptables(Backend::Legacy, Family::Bridge),
        Some(("context", "sysctl.conf")) => Role::Context(Backend::Sysctl),
        Some(("context", "bpf.conf")) => Role::Context(Backend::Bpf),
        _ => Role::Other,
    }
}

/// The path of the file that holds a backend's settings or programs.
pub fn context_path(backend: Backend) -> Option<&'static str> {
    match backend {
        Backend::Sysctl => Some("context/sysctl.conf"),
        Backend::Bpf => Some("context/bpf.conf"),
        Backend::NfTables | Backend::Legacy | Backend::Ipset => None,
    }
}

/// The path of an iptables, arptables or ebtables file.
pub fn iptables_path(backend: Backend, family: Family) -> String {
    let backend = if backend == Backend::Legacy { "legacy" } else { "nft" };
    match family {
        Family::Arp => format!("arptables/{backend}.rules"),
        Family::Bridge => format!("ebtables/{backend}.rules"),
        Family::Ip6 => format!("iptables/{backend}-v6.rules"),
        _ => format!("iptables/{backend}-v4.rules"),
    }
}

/// The path without its ending of a captured table: `nft/inet-filter`. Bytes that a file name should not
/// hold are written as `%XX`.
pub fn table_stem(key: &TableKey) -> String {
    format!("nft/{}-{}", key.family, encoded(&key.name))
}

/// The path of the file of a captured table in nft's syntax.
pub fn table_path(key: &TableKey) -> String {
    format!("{}.nft", table_stem(key))
}

/// The path of the exact form of a table, if it has one.
pub fn exact_path(key: &TableKey) -> String {
    format!("{}.exact", table_stem(key))
}

/// The path without its ending of a captured set of ipset.
pub fn set_stem(name: &Name) -> String {
    format!("ipset/{}", encoded(name))
}

/// The path of the text beside an exact form.
pub fn text_path(exact: &str) -> String {
    let ending = if exact.starts_with("ipset/") { "ipset" } else { "nft" };
    format!("{}.{ending}", exact.trim_end_matches(".exact"))
}

fn encoded(name: &Name) -> String {
    let mut out = String::new();
    for byte in &name.0 {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // A file name has at most 255 bytes.
    if out.len() > 150 {
        out.truncate(120);
        out.push('%');
        out.push_str(&crate::model::Digest::of([&name.0[..]]).to_string());
    }
    out
}

/// A captured table's file.
pub fn captured(text: &str) -> Vec<u8> {
    format!("{CAPTURED}\n{text}\n").into_bytes()
}

/// A captured set's file.
pub fn captured_set(text: &str) -> Vec<u8> {
    format!("{CAPTURED_SET}\n{text}\n").into_bytes()
}

/// The table's or set's text in a captured file; none if a person wrote the file.
pub fn captured_text(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    let text = text.strip_prefix(CAPTURED).or_else(|| text.strip_prefix(CAPTURED_SET))?;
    text.strip_prefix('\n')?.strip_suffix('\n')
}

/// Whether a file is part of the ruleset (a README is not).
pub fn is_ruleset(path: &str) -> bool {
    role(path) != Role::Other
}

/// Whether a file holds kernel settings or BPF programs.
pub fn is_context(path: &str) -> bool {
    matches!(role(path), Role::Context(_))
}

/// Whether a person wrote any of the files of nft or of ipset (then they are not ours to rewrite).
pub fn is_authored(files: &Files) -> bool {
    files.iter().any(|(path, content)| match role(path) {
        Role::Nft | Role::Ipset => captured_text(content).is_none(),
        Role::NftInclude => true,
        Role::Exact | Role::Iptables(..) | Role::Context(_) | Role::Other => false,
    })
}

/// The text form of an exact capture: base64 in lines.
pub fn exact(capture: &Capture) -> Vec<u8> {
    let encoded = BASE64.encode(capture.to_bytes());
    let mut text = format!("{EXACT}\n");
    for line in encoded.as_bytes().chunks(76) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.into_bytes()
}

/// Reads the text form; none if it is damaged.
pub fn read_exact(content: &[u8]) -> Option<Capture> {
    let text = std::str::from_utf8(content).ok()?.strip_prefix(EXACT)?;
    let encoded: String = text.split_whitespace().collect();
    Capture::from_bytes(&BASE64.decode(encoded).ok()?).ok()
}

/// A text that nft or ipset can read: one that says that no tool could show the object becomes a comment.
pub fn loadable(text: &str) -> String {
    if text.starts_with("table ") || text.starts_with("create ") { text.to_owned() } else { commented(text) }
}

/// A text as comment lines.
pub fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_table_names_make_safe_file_names() {
        let key = |name: &[u8]| TableKey {
            backend: Backend::NfTables,
            family: Family::Inet,
            name: Name(name.to_vec()),
        };
        assert_eq!(table_stem(&key(b"../../etc/passwd")), "nft/inet-%2E%2E%2F%2E%2E%2Fetc%2Fpasswd");
        assert_eq!(table_stem(&key(b"a\n\x1b")), "nft/inet-a%0A%1B");
        assert!(table_stem(&key(&[b'/'; 255])).len() < 250);
    }

    #[test]
    fn an_exact_capture_survives_its_text_form() {
        let capture = Capture { generation: 3, ..Capture::default() };
        assert_eq!(read_exact(&exact(&capture)), Some(capture));
        assert_eq!(read_exact(b"something else"), None);
    }
}
