//! `nft -f` on the files of another root: a copy whose includes stay inside.

use super::plan::is_file_flag;
use super::root::Root;
use crate::baseline::included_paths;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Files that include each other go no deeper than nft follows.
const DEPTH: usize = 16;

/// The arguments with which nft reads the same files below `root`, of which copies are made in `scratch`.
///
/// # Errors
/// A file cannot be copied.
pub fn arguments(root: &Root, args: &[String], scratch: &Path) -> io::Result<Vec<String>> {
    if root.is_host() {
        return Ok(args.to_vec());
    }
    let inside = |path: &str| scratch.join(path.trim_start_matches('/')).to_string_lossy().into_owned();
    let mut out = vec!["-I".to_owned(), inside("/etc")];
    let mut is_file = false;
    let mut seen = BTreeSet::new();
    for arg in args {
        let joined = arg.strip_prefix("--file=");
        match joined.or(is_file.then_some(arg.as_str())) {
            Some(file) => {
                stage(root, file, scratch, &mut seen, DEPTH)?;
                let prefix = if joined.is_some() { "--file=" } else { "" };
                out.push(format!("{prefix}{}", inside(file)));
            }
            None => out.push(arg.clone()),
        }
        is_file = is_file_flag(arg);
    }
    Ok(out)
}

/// The files that nft would read, for the names in them.
pub fn contents(root: &Root, file: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut left = vec![(file.to_owned(), DEPTH)];
    while let Some((path, depth)) = left.pop() {
        let Ok(Some(content)) = root.read(&path) else { continue };
        if depth > 0 && seen.insert(path) {
            left.extend(includes(root, &content).into_iter().map(|path| (path, depth - 1)));
        }
        found.push(content);
    }
    found
}

fn stage(
    root: &Root,
    path: &str,
    scratch: &Path,
    seen: &mut BTreeSet<String>,
    depth: usize,
) -> io::Result<()> {
    if depth == 0 || !seen.insert(path.to_owned()) {
        return Ok(());
    }
    // nft says itself what it does not find.
    let Some(content) = root.read(path)? else { return Ok(()) };
    let mut rewritten = Vec::with_capacity(content.len());
    let mut copied = 0;
    for place in included_paths(&content) {
        rewritten.extend_from_slice(&content[copied..place.start]);
        let target = absolute(&String::from_utf8_lossy(&content[place.clone()]));
        rewritten.extend_from_slice(scratch.to_string_lossy().as_bytes());
        rewritten.extend_from_slice(target.as_bytes());
        copied = place.end;
    }
    rewritten.extend_from_slice(&content[copied..]);
    let target = scratch.join(path.trim_start_matches('/'));
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(target, rewritten)?;
    for included in includes(root, &content) {
        stage(root, &included, scratch, seen, depth - 1)?;
    }
    Ok(())
}

/// The files that a content includes, as paths of the host.
fn includes(root: &Root, content: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for place in included_paths(content) {
        let target = absolute(&String::from_utf8_lossy(&content[place]));
        let (directory, name) = target.rsplit_once('/').unwrap_or(("", &target));
        match name.split_once('*') {
            None => found.push(target.clone()),
            Some((start, _)) => {
                // nft picks by the whole pattern; what is copied beyond that is not read.
                let names = root.names(directory).into_iter().filter(|name| name.starts_with(start));
                found.extend(names.map(|name| format!("{directory}/{name}")));
            }
        }
    }
    found
}

/// An include's path: a relative one is looked for in /etc (nft(8), `-I`), one with a dot in the working
/// directory, which is `/` for a service.
fn absolute(target: &str) -> String {
    match target {
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        dotted if dotted.starts_with("./") => format!("/{}", &dotted[2..]),
        relative => format!("/etc/{relative}"),
    }
}
