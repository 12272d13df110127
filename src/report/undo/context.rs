//! The way back of kernel settings and BPF programs.

use super::{Step, name, step};
use crate::model::settings::known;
use crate::model::{Change, ChangeKind};

const UNTYPABLE: &str = "a name or a value here is not safe in a command: put it back by hand";

/// The approved value, or the one that is the same as not being there.
pub(super) fn setting(change: &Change) -> Step {
    let Some(setting) = change.name.as_deref() else { return step(String::new(), UNTYPABLE) };
    let approved = change.before.as_deref().and_then(|text| text.strip_prefix(setting)?.strip_prefix(" = "));
    let neutral = || known(setting.as_bytes()).and_then(|known| known.neutral);
    let (value, remark) = match (approved, neutral()) {
        (Some(value), _) => (value, "the approved value"),
        (None, Some(value)) => (value, "as if its module were not loaded"),
        (None, None) => {
            return step(String::new(), "nothing is approved of this setting: its value is yours to choose");
        }
    };
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    match plain(setting, "_./-") && setting.starts_with("net.") && plain(value, "_.-") {
        true => step(format!("sysctl -w {setting}={value}"), remark),
        false => step(String::new(), UNTYPABLE),
    }
}

/// How a program is taken from its place. Nothing here can load one.
pub(super) fn program(change: &Change) -> Vec<Step> {
    let again = step(String::new(), "load the approved program again, in the way it was loaded");
    let words: Vec<&str> = change.name.as_deref().unwrap_or_default().split(' ').collect();
    let interface = words.first().and_then(|word| name(word));
    let off = match (interface, &words[..]) {
        (None, _) | (_, []) => vec![step(String::new(), UNTYPABLE)],
        (Some(interface), [_, "xdp/generic"]) => vec![xdp(interface, "xdpgeneric")],
        (Some(interface), [_, "xdp/driver"]) => vec![xdp(interface, "xdpdrv")],
        (Some(interface), [_, "xdp/offload"]) => vec![xdp(interface, "xdpoffload")],
        (Some(interface), [_, "tc/ingress", rest @ ..]) => vec![filter(interface, "ingress", rest)],
        (Some(interface), [_, "tc/egress", rest @ ..]) => vec![filter(interface, "egress", rest)],
        (Some(interface), [_, "tc/parent", parent, rest @ ..]) => {
            vec![filter(interface, &format!("parent {parent}"), rest)]
        }
        (Some(_), _) => vec![
            step("bpftool link list".to_owned(), "N: the id of the program's link"),
            step(
                "bpftool link detach id N".to_owned(),
                "refused while a process holds the link in another way",
            ),
        ],
    };
    match change.kind {
        ChangeKind::Added => off,
        ChangeKind::Removed => vec![again],
        ChangeKind::Modified | ChangeKind::Moved => [off, vec![again]].concat(),
    }
}

fn xdp(interface: &str, mode: &str) -> Step {
    step(
        format!("ip link set dev {interface} {mode} off"),
        "refused where a link holds it: bpftool link list",
    )
}

/// What follows the place: `chain N`, `pref N`, `handle N`, as tc(8) takes it.
fn filter(interface: &str, place: &str, rest: &[&str]) -> Step {
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == ':');
    match place.split(' ').all(|word| plain(&word)) && rest.iter().all(plain) {
        true => step(
            format!("tc filter delete dev {interface} {place} {} bpf", rest.join(" ")),
            "the filter, with its program",
        ),
        false => step(String::new(), UNTYPABLE),
    }
}
