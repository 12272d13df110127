//! Which network namespaces there are, and what they are called.
//!
//! Input: the present one, the files below /run/netns and /run/docker/netns, and the namespaces of running
//! processes. Output: each namespace once, held open, with a name that a baseline can have. What only a thread, an
//! open file or a mount elsewhere keeps alive is not found. Those of fwdrift's own children are left out.

use super::containers::{Names, Owner};
use crate::config::{NetnsForm, NetnsRef};
use crate::model::Gap;
use crate::sys::netns::{Netns, NetnsError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Where Docker keeps the files of its containers' namespaces; their names are numbers.
const OF_DOCKER: &str = "/run/docker/netns";

/// A network namespace.
#[derive(Debug)]
pub struct Found {
    /// Under which it can have a baseline.
    pub name: Option<String>,
    /// Whether it will have this name again when it is made anew.
    pub is_stable: bool,
    /// Whether somebody put it below /run/netns.
    pub is_file: bool,
    /// What people see: the name, the file, or a process in it. Holds whatever a process calls itself.
    pub label: String,
    /// The namespace; an error if a file is there that names none.
    pub netns: Result<Arc<Netns>, NetnsError>,
}

/// All of them but the present one, in the order of their names.
#[derive(Debug, Default)]
pub struct Listing {
    /// The namespaces.
    pub found: Vec<Found>,
    /// What could not be looked at.
    pub gaps: Vec<Gap>,
}

type Identity = (u64, u64);

/// Lists all namespaces that can be found, but for the present one.
///
/// # Errors
/// [`NetnsError`] if not even the present one is known.
pub fn list() -> Result<Listing, NetnsError> {
    let present = Netns::current()?.identity().map_err(NetnsError::Enter)?;
    let mut search = Search { seen: BTreeMap::new(), listing: Listing::default() };
    search.files(Path::new(NetnsRef::NAMED), present);
    search.files(Path::new(OF_DOCKER), present);
    search.processes(present);
    Ok(search.finish())
}

/// What [`NetnsRef`] alone cannot tell. The namespace of a process is opened once, here; what is below /run/netns has
/// its name, by whatever path or process it was asked for; a name may be a container's; and digits that are no name
/// (`is_known` tells whether the repository has it) are a process.
///
/// # Errors
/// [`NetnsError`] if there is no such process.
pub fn settle(asked: NetnsRef, is_known: impl Fn(&str) -> bool) -> Result<NetnsRef, NetnsError> {
    match asked.form().clone() {
        NetnsForm::Name(name) => {
            if asked.path().symlink_metadata().is_ok() || is_known(&name) && asked.as_process().is_some() {
                return Ok(asked);
            }
            if let Some(process) = asked.as_process().filter(|process| process.path().exists()) {
                return settle(process, is_known);
            }
            let found = list()?.found.into_iter().find(|found| found.name.as_deref() == Some(&name));
            Ok(match found.and_then(|found| found.netns.ok()) {
                Some(netns) => NetnsRef::found(&name, netns),
                None => asked,
            })
        }
        NetnsForm::Path => Ok(named(&asked).unwrap_or(asked)),
        NetnsForm::Process(_) => {
            let held = asked.hold()?;
            Ok(named(&held).unwrap_or(held))
        }
    }
}

/// The name below /run/netns of the namespace that was asked for; none if it is the present one.
fn named(asked: &NetnsRef) -> Option<NetnsRef> {
    let netns = asked.open().ok()?;
    let identity = netns.identity().ok()?;
    if Netns::current().ok()?.identity().ok()? == identity {
        return None;
    }
    let same = |path: &Path| identity_of(path).is_ok_and(|found| found == identity);
    let entries = fs::read_dir(NetnsRef::NAMED).ok()?.flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| same(&entry.path()))
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    Some(NetnsRef::found(&names.into_iter().next()?, Arc::new(netns)))
}

struct Search {
    /// Where in the listing a namespace is.
    seen: BTreeMap<Identity, usize>,
    listing: Listing,
}

impl Search {
    fn files(&mut self, directory: &Path, present: Identity) {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return self.gap(format!("cannot list {}: {error}", directory.display())),
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let path = directory.join(&name);
            let is_file = directory == Path::new(NetnsRef::NAMED);
            let label = if is_file { name.to_string_lossy() } else { path.to_string_lossy() }.into_owned();
            let known = name.into_string().ok().filter(|_| is_file);
            let is_stable = known.as_deref().is_some_and(|name| !ends_with_uuid(name));
            let netns = Netns::open(&path).map(Arc::new);
            let identity = netns.as_ref().ok().and_then(|netns| netns.identity().ok());
            if identity == Some(present) || identity.is_some_and(|identity| self.seen.contains_key(&identity))
            {
                continue;
            }
            // Gone between the two calls.
            if matches!(&netns, Err(NetnsError::Open { source, .. }) if source.kind() == ErrorKind::NotFound)
            {
                continue;
            }
            self.add(identity, Found { name: known, is_stable, is_file, label, netns });
        }
    }

    fn processes(&mut self, present: Identity) {
        let mut pids: Vec<u32> = match fs::read_dir("/proc") {
            Ok(entries) => entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect(),
            Err(error) => return self.gap(format!("cannot list /proc: {error}")),
        };
        pids.sort_unstable();
        let mut names = Names::default();
        let mut refused = 0;
        for pid in pids {
            let file = format!("/proc/{pid}/ns/net");
            let identity = match identity_of(Path::new(&file)) {
                Ok(identity) => identity,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    refused += 1;
                    continue;
                }
                // It ended.
                Err(_) => continue,
            };
            let place = self.seen.get(&identity).copied();
            let has_name = place.is_some_and(|place| self.listing.found[place].is_stable);
            if identity == present || has_name || is_of_fwdrift(pid) {
                continue;
            }
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let name = Owner::of_cgroup(&cgroup).map(|owner| names.of(&owner));
            match (place, name) {
                (Some(place), Some((name, true))) => {
                    let known = &mut self.listing.found[place];
                    (known.label, known.name, known.is_stable) = (name.clone(), Some(name), true);
                }
                (Some(_), _) => {}
                (None, name) => {
                    // The process may be another one by now: what was opened counts.
                    let Ok(netns) = Netns::open(Path::new(&file)) else { continue };
                    if netns.identity().ok() != Some(identity) {
                        continue;
                    }
                    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
                    let process = format!("pid {pid} ({})", String::from_utf8_lossy(comm.trim_ascii_end()));
                    let is_stable = name.as_ref().is_some_and(|(_, stable)| *stable);
                    let name = name.map(|(name, _)| name);
                    let label = name.clone().unwrap_or(process);
                    let netns = Ok(Arc::new(netns));
                    self.add(Some(identity), Found { name, is_stable, is_file: false, label, netns });
                }
            }
        }
        if refused > 0 {
            self.gap(format!("the namespaces of {refused} processes cannot be told: permission denied"));
        }
    }

    fn add(&mut self, identity: Option<Identity>, found: Found) {
        self.seen.extend(identity.map(|identity| (identity, self.listing.found.len())));
        self.listing.found.push(found);
    }

    fn gap(&mut self, reason: String) {
        let hint = Some("run as root, in the host's first pid namespace".to_owned());
        self.listing.gaps.push(Gap { source: "namespaces".to_owned(), reason, hint, blinds_verdict: true });
    }

    /// A name that two have is nobody's, but for a file below /run/netns.
    fn finish(mut self) -> Listing {
        let mut once = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for name in self.listing.found.iter().filter_map(|found| found.name.clone()) {
            if !once.insert(name.clone()) {
                twice.insert(name);
            }
        }
        for found in self.listing.found.iter_mut().filter(|found| !found.is_file) {
            if found.name.as_ref().is_some_and(|name| twice.contains(name)) {
                (found.name, found.is_stable) = (None, false);
            }
        }
        self.listing.found.sort_by(|a, b| (a.name.is_none(), &a.label).cmp(&(b.name.is_none(), &b.label)));
        self.listing
    }
}

fn identity_of(path: &Path) -> std::io::Result<Identity> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Names that podman and CNI make: `netns-` or `cni-`, and a random UUID.
fn ends_with_uuid(name: &str) -> bool {
    let parts: Vec<&str> = name.rsplitn(6, '-').collect();
    let lengths = [12, 4, 4, 4, 8];
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() >= 5 && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && is_hex(part))
}

/// Whether a process is this one's child, or another fwdrift's: a tool in a scratch namespace.
fn is_of_fwdrift(pid: u32) -> bool {
    let own = identity_of(Path::new("/proc/self/exe")).ok();
    let mut pid = pid;
    // Nobody has that many ancestors; a pid that was taken again could make a circle.
    for _ in 0..64 {
        let exe = identity_of(Path::new(&format!("/proc/{pid}/exe"))).ok();
        if pid == std::process::id() || (own.is_some() && exe == own) {
            return true;
        }
        match parent(pid) {
            Some(above) if above > 1 => pid = above,
            _ => return false,
        }
    }
    false
}

/// `ppid`, the second field behind the name, which may hold anything (proc_pid_stat(5)).
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    str::from_utf8(stat.get(end + 2..)?).ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_end_in_a_random_part_are_not_stable() {
        assert!(ends_with_uuid("cni-5c2b1f0e-1d2c-4b3a-9f8e-0123456789ab"));
        assert!(ends_with_uuid("netns-5c2b1f0e-1d2c-4b3a-9f8e-0123456789ab"));
        assert!(ends_with_uuid("5c2b1f0e-1d2c-4b3a-9f8e-0123456789ab"));
        for name in ["blue", "web-01", "cni-5c2b1f0e", "a-b-c-d-e-f"] {
            assert!(!ends_with_uuid(name), "{name}");
        }
    }
}
