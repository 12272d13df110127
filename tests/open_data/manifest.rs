//! Which rulesets there are: every nft and nft-json file of ../shared/data/open/*/MANIFEST.nft.tsv.

use std::path::{Path, PathBuf};

/// One ruleset of the collection.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file, read in place.
    pub path: PathBuf,
    /// Folder and path within the collection, for messages.
    pub name: String,
    /// Whether it is JSON.
    pub is_json: bool,
    /// Whether the collection says that it loads.
    pub should_load: bool,
    size: u64,
}

/// The collection's folder, if it lies beside the checkout.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("shared/data/open");
    folder.is_dir().then_some(folder)
}

/// All rulesets, the largest first, so that the last one to be worked on is short.
pub fn read(folder: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    for part in folders {
        let Ok(manifest) = std::fs::read_to_string(part.join("MANIFEST.nft.tsv")) else { continue };
        for line in manifest.lines().skip(1) {
            let mut columns = line.split('\t');
            let (Some(file), Some(kind), Some(loads)) = (columns.next(), columns.next(), columns.next())
            else {
                panic!("{}: a line of fewer than three columns: {line}", part.display());
            };
            let path = part.join(file);
            entries.push(Entry {
                name: format!("{}/{file}", part.file_name().unwrap().to_string_lossy()),
                is_json: kind == "nft-json",
                should_load: loads.starts_with("yes"),
                size: std::fs::metadata(&path).map_or(0, |meta| meta.len()),
                path,
            });
        }
    }
    entries.sort_by(|a, b| b.size.cmp(&a.size).then(a.name.cmp(&b.name)));
    entries
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
