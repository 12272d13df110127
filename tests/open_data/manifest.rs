//! Which rulesets there are: every nft, nft-json and iptables-save file of ../shared/data/open/*/MANIFEST.*.tsv.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which program loads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// `nft -f`.
    Nft,
    /// `nft -j -f`.
    NftJson,
    /// A program that reads the save format: `iptables-nft-restore` and its like.
    Restore(&'static str),
}

/// One ruleset of the collection.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file, read in place.
    pub path: PathBuf,
    /// Folder and path within the collection, for messages.
    pub name: String,
    /// What loads it.
    pub loader: Loader,
    /// Whether the collection says that it loads.
    pub should_load: bool,
    /// Whether another release of nft prints another listing of it.
    pub listed_otherwise: bool,
    size: u64,
}

impl Entry {
    /// A file that no manifest names by itself.
    pub fn of_file(path: PathBuf, loader: Loader) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        Self { path, name, loader, should_load: true, listed_otherwise: false, size }
    }

    /// Of a JSON file: the same ruleset in nft's syntax, if that lies beside it.
    pub fn text_beside(&self) -> Option<Self> {
        let path = self.path.to_str()?;
        let stem = path.strip_suffix(".json-nft").or(path.strip_suffix(".nft.json"))?;
        let text = Self::of_file(format!("{stem}.nft").into(), Loader::Nft);
        text.path.is_file().then_some(text)
    }

    /// Whether x_tables holds it, and not nf_tables.
    pub fn is_legacy(&self) -> bool {
        matches!(self.loader, Loader::Restore(program) if program.contains("legacy"))
    }
}

/// The collection's folder, if it lies beside the checkout.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("shared/data/open");
    folder.is_dir().then_some(folder)
}

/// The rows of a table, each by the names of its columns.
pub fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), head.len(), "{}: {line}", path.display());
        head.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), cell.to_owned())).collect()
    };
    lines.map(row).collect()
}

/// All rulesets, the largest first, so that the last one to be worked on is short.
pub fn read(folder: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    for part in folders {
        let place = part.file_name().unwrap().to_string_lossy().into_owned();
        let named = |file: &str, loader| {
            let entry = Entry::of_file(part.join(file), loader);
            Entry { name: format!("{place}/{file}"), ..entry }
        };
        for row in rows(&part.join("MANIFEST.nft.tsv")) {
            let loader = if row["kind"] == "nft-json" { Loader::NftJson } else { Loader::Nft };
            entries.push(Entry {
                should_load: row["loads"].starts_with("yes"),
                listed_otherwise: row["list113_same"] == "no",
                ..named(&row["path"], loader)
            });
        }
        for row in rows(&part.join("MANIFEST.ipt.tsv")) {
            entries.extend(of_save(&row).map(|(loader, should_load)| {
                let entry = named(&row["path"], loader);
                let Loader::Restore(program) = loader else { return entry };
                Entry { name: format!("{} ({program})", entry.name), should_load, ..entry }
            }));
        }
    }
    entries.sort_by(|a, b| b.size.cmp(&a.size).then(a.name.cmp(&b.name)));
    entries
}

/// What loads an iptables-save file: of its own family, the program for each backend.
fn of_save(row: &BTreeMap<String, String>) -> impl Iterator<Item = (Loader, bool)> {
    const PROGRAMS: [[(&str, &str); 2]; 2] = [
        [("nft_v4", "iptables-nft-restore"), ("legacy_v4", "iptables-legacy-restore")],
        [("nft_v6", "ip6tables-nft-restore"), ("legacy_v6", "ip6tables-legacy-restore")],
    ];
    let loads = |column: &str| row[column].starts_with("yes");
    let six = if row["looks_v6"] == "True" { loads("nft_v6") } else { !loads("nft_v4") && loads("nft_v6") };
    let found = PROGRAMS[usize::from(six)].map(|(column, program)| (Loader::Restore(program), loads(column)));
    found.into_iter()
}

/// Names of interfaces that nft looks up when it loads a file: after `iif`, `oif`, `device`, `"dev":`.
pub fn devices(text: &str) -> Vec<String> {
    let separators = |c: char| c.is_whitespace() || "\"{},;=():[]".contains(c);
    let words: Vec<&str> = text.split(separators).filter(|word| !word.is_empty()).collect();
    let mut found: Vec<String> = Vec::new();
    for pair in
        words.windows(2).filter(|pair| ["iif", "oif", "device", "devices", "dev", "to"].contains(&pair[0]))
    {
        let plausible = pair[1].len() < 16 && pair[1].starts_with(|c: char| c.is_ascii_alphabetic());
        if plausible && pair[1] != "lo" && !found.iter().any(|name| name == pair[1]) {
            found.push(pair[1].to_owned());
        }
    }
    found
}

/// Names of ipsets that an iptables-save file looks up.
pub fn ipsets(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = words.windows(2).filter(|pair| ["--match-set", "--add-set", "--del-set"].contains(&pair[0]));
    let mut found: Vec<String> = after.map(|pair| pair[1].to_owned()).collect();
    found.sort();
    found.dedup();
    found
}
