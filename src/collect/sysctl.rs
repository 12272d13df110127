//! Kernel settings of a network namespace, read from /proc/sys/net.
//!
//! What is shown there follows the namespace of the reading thread (`net_ctl_root.lookup` in net/sysctl_net.c),
//! so nothing is run. Reading makes nothing: a module that is not loaded has no files there.

use crate::model::settings::{bytes_of, part_matches, word};
use crate::model::{ContextObject, Gap, SettingsList};
use rustix::fs::{CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What every kernel with a network has. Without it, /proc is not what it should be.
const ALWAYS_THERE: &str = "/proc/sys/net/ipv4/ip_forward";
/// Larger than any value of the list; longer ones are read in pieces.
const BUFFER: usize = 4096;

/// The settings of the list, of the calling thread's namespace: every interface's, in the order of their names.
/// A setting that the kernel does not have is absent; what is there and cannot be read is a gap. One `open`,
/// `read` and `close` a setting: linear in interfaces.
pub fn capture(list: &SettingsList) -> (Vec<ContextObject>, Vec<Gap>) {
    let mut reading = Reading { list, found: BTreeMap::new(), failed: Vec::new() };
    if let Err(error) = open(CWD, ALWAYS_THERE.as_bytes(), OFlags::empty()) {
        reading.failed.push(format!("{ALWAYS_THERE}: {}", std::io::Error::from(error)));
    }
    // By directory and pattern, so that each directory is listed once.
    let mut listed: BTreeMap<Listing<'_>, Vec<Vec<u8>>> = BTreeMap::new();
    for pattern in list.patterns() {
        let parts: Vec<&[u8]> = pattern.split(|byte| *byte == b'.').collect();
        match parts.iter().position(|part| part.contains(&b'*')) {
            Some(star) => {
                let (Some(directory), Some(rest)) = (path(&parts[..star]), path(&parts[star + 1..])) else {
                    continue;
                };
                listed.entry((directory, parts[star])).or_default().push(rest);
            }
            None => {
                if let Some(path) = path(&parts) {
                    reading.file(CWD, &[b"/proc/sys/", &path[..]].concat(), pattern.to_vec());
                }
            }
        }
    }
    for ((directory, glob), keys) in listed {
        reading.matching(&directory, glob, &keys);
    }
    let gaps = gap(&reading.failed).into_iter().collect();
    let object = |(name, value)| ContextObject { name, value };
    (reading.found.into_iter().map(object).collect(), gaps)
}

/// A directory, and the pattern of those of its entries that are meant.
type Listing<'a> = (Vec<u8>, &'a [u8]);

struct Reading<'a> {
    list: &'a SettingsList,
    found: BTreeMap<Vec<u8>, Vec<u8>>,
    failed: Vec<String>,
}

impl Reading<'_> {
    /// The files below each entry of a directory whose name fits: `keys` of an interface. An empty key is the
    /// entry itself.
    fn matching(&mut self, directory: &[u8], glob: &[u8], keys: &[Vec<u8>]) {
        let full = [b"/proc/sys/", directory].concat();
        let listing = open(CWD, &full, OFlags::DIRECTORY).and_then(|fd| Ok((Dir::read_from(&fd)?, fd)));
        let (entries, fd) = match listing {
            Ok(found) => found,
            Err(error) => return self.missing(&full, error),
        };
        let prefix: Vec<u8> = directory.iter().map(|byte| swapped(*byte)).collect();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.missing(&full, error),
            };
            let file = entry.file_name().to_bytes();
            let name =
                word(&file.iter().map(|byte| if *byte == b'.' { b'/' } else { *byte }).collect::<Vec<u8>>());
            if file == b"." || file == b".." || !part_matches(glob, &name) {
                continue;
            }
            let named = |key: &[u8]| {
                let key: Vec<u8> = key.iter().map(|byte| swapped(*byte)).collect();
                let parts = [&prefix[..], &name, &key];
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'.')
            };
            if keys.iter().all(Vec::is_empty) {
                self.file(fd.as_fd(), file, named(b""));
                continue;
            }
            // An interface can go while its settings are read.
            let Ok(of_entry) = open(fd.as_fd(), file, OFlags::DIRECTORY) else { continue };
            for key in keys.iter().filter(|key| !key.is_empty()) {
                self.file(of_entry.as_fd(), key, named(key));
            }
        }
    }

    fn file(&mut self, directory: BorrowedFd<'_>, path: &[u8], name: Vec<u8>) {
        if !self.list.holds(&name) {
            return;
        }
        match open(directory, path, OFlags::empty()).and_then(|fd| content(&fd)) {
            Ok(content) => drop(self.found.insert(name, value(&content))),
            Err(error) => self.missing(&name, error),
        }
    }

    /// What is not there is no failure; `ENODEV` is the answer where it has just gone.
    fn missing(&mut self, name: &[u8], error: Errno) {
        if !matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::NODEV) {
            self.failed.push(format!("{}: {}", String::from_utf8_lossy(name), std::io::Error::from(error)));
        }
    }
}

fn gap(failed: &[String]) -> Option<Gap> {
    let first = failed.first()?;
    let more = match failed.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(Gap {
        source: "sysctl".to_owned(),
        reason: format!("cannot read {first}{more}"),
        hint: Some(
            "a setting that does not matter here can stand under [sysctl] ignore in fwdrift.toml".to_owned(),
        ),
        blinds_verdict: true,
    })
}

/// The path of these parts of a name below /proc/sys; `None` of what is no name of a file.
fn path(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut files = Vec::new();
    for part in parts {
        let file: Vec<u8> =
            bytes_of(part).into_iter().map(|byte| if byte == b'/' { b'.' } else { byte }).collect();
        if file.is_empty() || file == b"." || file == b".." || file.contains(&0) {
            return None;
        }
        files.push(file);
    }
    Some(files.join(&b'/'))
}

/// Names have dots between their parts and slashes in them, paths the other way round, as in sysctl(8).
fn swapped(byte: u8) -> u8 {
    match byte {
        b'.' => b'/',
        b'/' => b'.',
        other => other,
    }
}

fn open(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(directory, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn content(fd: &OwnedFd) -> rustix::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut buffer = [0; BUFFER];
    loop {
        let length = rustix::io::read(fd, &mut buffer)?;
        content.extend_from_slice(&buffer[..length]);
        if length < BUFFER {
            return Ok(content);
        }
    }
}

/// On one line, with one space between numbers, whatever the kernel put there.
fn value(content: &[u8]) -> Vec<u8> {
    let words = content.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let shown = |word: &[u8]| {
        let plain = word.iter().all(u8::is_ascii_graphic);
        if plain { word.to_vec() } else { self::word(word) }
    };
    words.map(shown).collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns::Netns;

    fn of(netns: &Netns, list: &SettingsList, name: &str) -> Option<String> {
        let (found, gaps) = netns.run(|| capture(list)).unwrap();
        assert_eq!(gaps, []);
        let object = found.into_iter().find(|object| object.name == name.as_bytes())?;
        Some(String::from_utf8(object.value).unwrap())
    }

    fn set(netns: &Netns, path: &str, value: &str) {
        netns.run(|| std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap()).unwrap();
    }

    #[test]
    fn the_settings_of_a_threads_namespace_are_read_not_those_of_the_process() {
        let (one, other) = (Netns::create().unwrap(), Netns::create().unwrap());
        let list = SettingsList::default();
        let here = std::fs::read_to_string(ALWAYS_THERE).unwrap();
        let flip = |now: &str| if now.trim() == "1" { "0" } else { "1" };
        set(&one, "ipv4/ip_forward", flip(&here));
        set(&other, "ipv4/ip_forward", here.trim());
        assert_eq!(of(&one, &list, "net.ipv4.ip_forward").as_deref(), Some(flip(&here)));
        assert_eq!(of(&other, &list, "net.ipv4.ip_forward").as_deref(), Some(here.trim()));
        assert_eq!(std::fs::read_to_string(ALWAYS_THERE).unwrap(), here, "this process's own stayed");
    }

    #[test]
    fn interfaces_with_odd_names_have_names_that_fit_on_a_line() {
        let netns = Netns::create().unwrap();
        let names = [&b"eth0.100"[..], b"#a=b;c", b"x\xff\x01y"];
        netns.run(|| names.iter().for_each(|name| crate::collect::links::make(0, name).unwrap())).unwrap();
        set(&netns, "ipv4/conf/eth0.100/rp_filter", "2");
        let list = SettingsList::default();
        assert_eq!(of(&netns, &list, "net.ipv4.conf.eth0/100.rp_filter").as_deref(), Some("2"));
        for name in ["\\x23a\\x3db\\x3bc", "x\\xff\\x01y"] {
            let name = format!("net.ipv4.conf.{name}.proxy_arp");
            assert_eq!(of(&netns, &list, &name).as_deref(), Some("0"), "{name}");
            // Also where only its approved name asks for it.
            let approved = name.replace("proxy_arp", "tag");
            let list = SettingsList::default().with_approved([approved.clone().into_bytes()]);
            assert_eq!(of(&netns, &list, &approved).as_deref(), Some("0"), "{approved}");
        }
    }

    #[test]
    fn what_the_kernel_lacks_is_absent_and_what_cannot_be_read_is_a_gap() {
        let netns = Netns::create().unwrap();
        let odd =
            ["net.ipv4.no_such_thing", "net.ipv4.conf.no-such-0.tag", "net.no.*.x", "net.ipv4.conf.*.no"];
        let list = SettingsList::new(odd.map(str::to_owned).to_vec(), Vec::new());
        assert_eq!(of(&netns, &list, "net.ipv4.no_such_thing"), None);
        // Nothing above /proc/sys is reached, whatever an approved name says.
        let list = SettingsList::default().with_approved([b"net.//.//.version".to_vec()]);
        assert_eq!(of(&netns, &list, "net.//.//.version"), None);
        let list = SettingsList::new(vec!["net.ipv4.route.flush".to_owned()], Vec::new());
        let (found, gaps) = netns.run(|| capture(&list)).unwrap();
        assert_eq!((gaps.len(), gaps[0].source.as_str(), gaps[0].blinds_verdict), (1, "sysctl", true));
        assert!(gaps[0].reason.contains("net.ipv4.route.flush"), "{gaps:?}");
        assert!(found.len() > 20, "the rest is read");
    }
}
