//! What journald does to auditing whenever it starts: `Audit=` of journald.conf(5).

use crate::doctor::facts::JournaldAudit;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where configuration is, the strongest first (journald.conf(5), "Configuration directories and precedence").
const DIRECTORIES: [&str; 4] = ["etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd"];

/// Reads the configuration below `root` (`/`).
pub(super) fn look(root: &Path) -> JournaldAudit {
    let directories = DIRECTORIES.map(|directory| root.join(directory));
    let main =
        directories.iter().map(|directory| directory.join("journald.conf")).find(|path| path.is_file());
    // What is compiled in stands in the shipped file as a comment; Debian's differs from systemd's own `yes`.
    let default = main.as_deref().and_then(|path| read(path, commented));
    let mut found = default.unwrap_or(JournaldAudit::TurnsOn);
    for path in main.into_iter().chain(drop_ins(&directories)) {
        found = read(&path, uncommented).unwrap_or(found);
    }
    found
}

/// `journald.conf.d/*.conf` in the order of their names; of equal names the strongest directory's.
fn drop_ins(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut named = BTreeMap::new();
    let entries = directories.iter().filter_map(|path| fs::read_dir(path.join("journald.conf.d")).ok());
    for path in entries.flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_some_and(|extension| extension == "conf") {
            named.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
        }
    }
    named.into_values().collect()
}

fn uncommented(line: &str) -> Option<&str> {
    (!line.starts_with(['#', ';'])).then_some(line)
}

fn commented(line: &str) -> Option<&str> {
    line.strip_prefix('#')
}

/// The last value in a file, of the lines that `choose` takes.
fn read(path: &Path, choose: impl Fn(&str) -> Option<&str>) -> Option<JournaldAudit> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut in_journal = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_journal = line == "[Journal]";
        }
        let assigned = choose(line).and_then(|line| line.split_once('='));
        if let Some((key, value)) = assigned
            && in_journal
            && key.trim() == "Audit"
        {
            // systemd passes over a value that it does not understand.
            found = meaning(value.trim(), path).or(found);
        }
    }
    found
}

/// systemd.syntax(7), booleans.
fn meaning(value: &str, path: &Path) -> Option<JournaldAudit> {
    match value.to_ascii_lowercase().as_str() {
        "" => Some(JournaldAudit::Leaves),
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(JournaldAudit::TurnsOn),
        "0" | "no" | "n" | "false" | "f" | "off" => {
            Some(JournaldAudit::TurnsOff { said_in: path.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expect: impl Fn(&Path) -> JournaldAudit) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(look(root.path()), expect(root.path()), "{files:?}");
    }

    fn off(path: &'static str) -> impl Fn(&Path) -> JournaldAudit {
        move |root| JournaldAudit::TurnsOff { said_in: root.join(path) }
    }

    const DEBIAN: (&str, &str) =
        ("etc/systemd/journald.conf", "#  This file\n[Journal]\n#Storage=auto\n#Audit=no\n");

    #[test]
    fn the_default_is_what_the_shipped_file_says_in_its_comments() {
        check(&[], |_| JournaldAudit::TurnsOn);
        check(&[DEBIAN], off("etc/systemd/journald.conf"));
        check(&[("usr/lib/systemd/journald.conf", "[Journal]\n#Audit=yes\n")], |_| JournaldAudit::TurnsOn);
    }

    #[test]
    fn drop_ins_win_over_the_file_in_the_order_of_their_names() {
        let yes = ("etc/systemd/journald.conf.d/50-x.conf", "[Journal]\nAudit = yes\n");
        let no = ("usr/lib/systemd/journald.conf.d/60-y.conf", "[Journal]\nAudit=Off\n");
        check(&[DEBIAN, yes], |_| JournaldAudit::TurnsOn);
        check(&[DEBIAN, yes, no], off("usr/lib/systemd/journald.conf.d/60-y.conf"));
        let masked = ("etc/systemd/journald.conf.d/60-y.conf", "");
        check(&[DEBIAN, yes, no, masked], |_| JournaldAudit::TurnsOn);
    }

    #[test]
    fn an_empty_value_leaves_auditing_and_nonsense_changes_nothing() {
        let drop_in = "etc/systemd/journald.conf.d/a.conf";
        check(&[DEBIAN, (drop_in, "[Journal]\nAudit=\n")], |_| JournaldAudit::Leaves);
        check(&[(drop_in, "[Journal]\nAudit=maybe\n")], |_| JournaldAudit::TurnsOn);
        check(&[(drop_in, "[Other]\nAudit=no\n")], |_| JournaldAudit::TurnsOn);
        check(&[(drop_in, "[Journal]\n#Audit=no\n")], |_| JournaldAudit::TurnsOn);
    }
}
