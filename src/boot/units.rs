//! What starts at boot: systemd's units, OpenRC's runlevels, System V's links.
//!
//! A unit is enabled if a `.wants` or `.requires` directory names it and it is not masked (systemd.unit(5)).
//! Presets are not asked: they decide what an installation enables, not what a boot starts.

use super::root::Root;
use std::collections::BTreeSet;
use std::path::Path;

/// Where systemd looks for units, the first first. `/run` is empty at boot.
const UNIT_DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Targets that a normal boot does not reach.
const ELSEWHERE: [&str; 8] =
    ["emergency", "rescue", "shutdown", "poweroff", "reboot", "halt", "kexec", "sleep"];
/// The runlevels that OpenRC passes on its way up.
const RUNLEVELS: [&str; 4] = ["sysinit", "boot", "nonetwork", "default"];
/// Those of System V.
const LEVELS: [&str; 6] = ["rcS.d", "rcs.d", "rc2.d", "rc3.d", "rc4.d", "rc5.d"];

/// A service that starts at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name without `.service`; of an alias, the name of what it stands for.
    pub name: String,
    /// The link that enables it, as a path of the host.
    pub enabled_by: String,
    /// What kind of init starts it.
    pub init: Init,
    /// The commands that it starts with, in their order; of OpenRC and System V none are known.
    pub commands: Vec<Vec<String>>,
    /// Units that it starts after.
    pub after: BTreeSet<String>,
    /// Units that it starts before.
    pub before: BTreeSet<String>,
}

/// The program that starts services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// System V's scripts.
    SystemV,
}

/// All services that start at boot, each once.
pub fn enabled(root: &Root) -> Vec<Unit> {
    let mut found: Vec<Unit> = Vec::new();
    for directory in UNIT_DIRECTORIES {
        for target in root.names(directory) {
            let Some(wanting) = target.strip_suffix(".wants").or_else(|| target.strip_suffix(".requires"))
            else {
                continue;
            };
            if ELSEWHERE.iter().any(|word| wanting.strip_suffix(".target") == Some(word)) {
                continue;
            }
            for name in root.names(&format!("{directory}/{target}")) {
                let link = format!("{directory}/{target}/{name}");
                if let Some(unit) = service(root, &name, link)
                    && !found.iter().any(|known| known.name == unit.name)
                {
                    found.push(unit);
                }
            }
        }
    }
    let is_systemd = root.has("/lib/systemd/systemd") || root.has("/usr/lib/systemd/systemd");
    let mut add = |name: &str, enabled_by: String, init| {
        // systemd runs a script of System V only where there is no unit of that name.
        let is_native = is_systemd && unit_path(root, &format!("{name}.service")).is_some();
        if !is_native && !found.iter().any(|known| known.name == name) {
            let (commands, after, before) = Default::default();
            found.push(Unit { name: name.to_owned(), enabled_by, init, commands, after, before });
        }
    };
    for level in LEVELS {
        for link in root.names(&format!("/etc/{level}")) {
            let number = link.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            if link.starts_with('S') && number.is_some() {
                add(&link[3..], format!("/etc/{level}/{link}"), Init::SystemV);
            }
        }
    }
    if !is_systemd {
        for level in RUNLEVELS {
            for name in root.names(&format!("/etc/runlevels/{level}")) {
                add(&name, format!("/etc/runlevels/{level}/{name}"), Init::OpenRc);
            }
        }
    }
    found
}

/// A service by the name in a `.wants` directory; none if it is masked or no service.
fn service(root: &Root, wanted: &str, enabled_by: String) -> Option<Unit> {
    wanted.strip_suffix(".service")?;
    let (path, name) = unit_path(root, wanted)?;
    if root.link(&path).is_some_and(|target| target == Path::new("/dev/null")) {
        return None;
    }
    let mut text = root.text(&path);
    for directory in UNIT_DIRECTORIES.iter().rev() {
        let drop_ins = format!("{directory}/{name}.d");
        for file in root.names(&drop_ins).iter().filter(|file| file.ends_with(".conf")) {
            text.push_str(&format!("\n{}", root.text(&format!("{drop_ins}/{file}"))));
        }
    }
    let instance = wanted.split_once('@').map(|(_, rest)| rest.trim_end_matches(".service"));
    let text = instance.map_or(text.clone(), |instance| text.replace("%i", instance).replace("%I", instance));
    let words = |key| settings(&text, key).flat_map(|value| value.split_whitespace()).map(str::to_owned);
    Some(Unit {
        name: name.trim_end_matches(".service").to_owned(),
        enabled_by,
        init: Init::Systemd,
        commands: commands(&text),
        after: words("After").collect(),
        before: words("Before").collect(),
    })
}

/// Where a unit's file is, and its own name where `wanted` is an alias.
fn unit_path(root: &Root, wanted: &str) -> Option<(String, String)> {
    let mut name = wanted.to_owned();
    // An alias of an alias is as far as anybody goes.
    for _ in 0..3 {
        let template = name.split_once('@').map(|(stem, _)| format!("{stem}@.service"));
        let names = [Some(name.clone()), template];
        let mut paths = names.iter().flatten().flat_map(|name| {
            UNIT_DIRECTORIES.iter().map(move |directory| (format!("{directory}/{name}"), name.clone()))
        });
        let is_there = |path: &str| root.has(path) || root.link(path).is_some();
        let (path, _) = paths.find(|(path, _)| is_there(path))?;
        let target = root.link(&path).and_then(|target| Some(target.file_name()?.to_str()?.to_owned()));
        match target {
            Some(target) if target.ends_with(".service") && target != name && !target.contains('@') => {
                name = target;
            }
            _ => return Some((path, name)),
        }
    }
    None
}

/// The values of a key, in their order; an assignment of nothing takes back those before it.
fn settings<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let values = text.lines().filter_map(move |line| {
        let (name, value) = line.trim_start().split_once('=')?;
        (name.trim_end() == key).then(|| value.trim())
    });
    let values: Vec<&str> = values.collect();
    let start = values.iter().rposition(|value| value.is_empty()).map_or(0, |place| place + 1);
    values.into_iter().skip(start)
}

/// The commands that a service starts with.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let keys = ["ExecStartPre", "ExecStart", "ExecStartPost"];
    let lines = keys.into_iter().flat_map(|key| settings(&text, key).map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| words(line.trim_start_matches(['@', '-', ':', '+', '!', '|']))).collect()
}

/// Splits a command line as systemd does: at spaces, with quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A tree of files; what begins with `->` is a link.
    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("->") {
                Some(target) => symlink(target, path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        let root = Root::new(directory.path());
        (directory, root)
    }

    fn check(files: &[(&str, &str)], expect: &[(&str, &str)]) -> Vec<Unit> {
        let (_directory, root) = tree(files);
        let units = enabled(&root);
        let found: Vec<(&str, &str)> =
            units.iter().map(|unit| (unit.name.as_str(), unit.enabled_by.as_str())).collect();
        assert_eq!(found, expect);
        units
    }

    const UNIT: (&str, &str) =
        ("lib/systemd/system/a.service", "[Service]\nExecStart=/bin/a -f '/etc/x y'\n");
    const LINK: (&str, &str) =
        ("etc/systemd/system/sysinit.target.wants/a.service", "->/lib/systemd/system/a.service");

    #[test]
    fn a_unit_that_a_target_wants_is_enabled_and_one_that_is_only_there_is_not() {
        check(&[UNIT], &[]);
        let units = check(&[UNIT, LINK], &[("a", "/etc/systemd/system/sysinit.target.wants/a.service")]);
        assert_eq!(units[0].commands, [["/bin/a", "-f", "/etc/x y"]]);
    }

    #[test]
    fn a_masked_unit_is_not_enabled() {
        check(&[UNIT, LINK, ("etc/systemd/system/a.service", "->/dev/null")], &[]);
    }

    #[test]
    fn what_only_the_rescue_target_wants_does_not_start() {
        check(&[UNIT, ("etc/systemd/system/rescue.target.wants/a.service", "->x")], &[]);
    }

    #[test]
    fn a_drop_in_takes_back_and_replaces_the_command() {
        let drop_in = ("etc/systemd/system/a.service.d/x.conf", "[Service]\nExecStart=\nExecStart=-/bin/b\n");
        let units =
            check(&[UNIT, LINK, drop_in], &[("a", "/etc/systemd/system/sysinit.target.wants/a.service")]);
        assert_eq!(units[0].commands, [["/bin/b"]]);
    }

    #[test]
    fn an_alias_is_the_unit_that_it_stands_for() {
        let alias = ("etc/systemd/system/b.service", "->/lib/systemd/system/a.service");
        let wants = "etc/systemd/system/multi-user.target.wants/b.service";
        check(&[UNIT, alias, (wants, "->x")], &[("a", &format!("/{wants}"))]);
    }

    #[test]
    fn a_script_of_system_v_starts_unless_systemd_has_a_unit_of_its_name() {
        let script = ("etc/rc2.d/S20a", "->../init.d/a");
        check(&[script], &[("a", "/etc/rc2.d/S20a")]);
        check(&[script, UNIT, ("lib/systemd/systemd", "")], &[]);
        check(&[("etc/rc2.d/K20a", "->../init.d/a")], &[]);
    }

    #[test]
    fn a_service_in_a_runlevel_starts() {
        check(
            &[("etc/runlevels/default/nftables", "->/etc/init.d/nftables")],
            &[("nftables", "/etc/runlevels/default/nftables")],
        );
    }
}
