//! Words for programs and the places where they are attached. Pure.

use crate::model::Digest;
use crate::model::settings::word;
use crate::netlink::{Attr, Attrs};
use crate::sys::bpf::NetfilterLink;

const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_TAG: u16 = 10;
const TCA_ACT_KIND: u16 = 1;
/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is the verdict.
const ACT_DIRECT: u32 = 1;

/// The name of a netfilter link's place, its program, how it is attached.
pub(super) fn described(link: &NetfilterLink) -> (Vec<u8>, u32, &'static str) {
    const HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];
    let family = match link.family {
        2 => "ip".to_owned(),
        10 => "ip6".to_owned(),
        other => other.to_string(),
    };
    let hook = match HOOKS.get(link.hook as usize) {
        Some(hook) => (*hook).to_owned(),
        None => link.hook.to_string(),
    };
    let place = format!("netfilter {family}/{hook} priority {}", link.priority);
    (place.into_bytes(), link.program, if link.flags & 1 == 0 { "" } else { "defrag" })
}

/// `NAME tag TAG [HOW]`.
pub(super) fn value(name: &[u8], tag: &[u8], attached: &str) -> Vec<u8> {
    let name = if name.is_empty() { b"-".to_vec() } else { word(name) };
    let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let how = if attached.is_empty() { String::new() } else { format!(" {attached}") };
    [&name[..], format!(" tag {tag}{how}").as_bytes()].concat()
}

/// A filter's program. A classic one has no tag: a digest of its instructions stands for it.
pub(super) fn filter_value(options: Attrs<'_>, protocol: u16) -> Vec<u8> {
    let name = options.find(TCA_BPF_NAME).map(|attr| attr.string()).unwrap_or_default();
    let flags = options.find(TCA_BPF_FLAGS).and_then(|attr| number(&attr)).unwrap_or_default();
    let mut how = Vec::new();
    if flags & ACT_DIRECT != 0 {
        how.push("direct-action".to_owned());
    }
    let actions = options.find(TCA_BPF_ACT).into_iter().flat_map(|list| list.nested().flatten());
    for kind in actions.filter_map(|action| action.nested().find(TCA_ACT_KIND)) {
        how.push(format!("action {}", String::from_utf8_lossy(&word(kind.string()))));
    }
    how.push(match protocol {
        0x0003 => "protocol all".to_owned(),
        0x0800 => "protocol ip".to_owned(),
        0x86dd => "protocol ipv6".to_owned(),
        other => format!("protocol {other:#06x}"),
    });
    let how = how.join(" ");
    match (options.find(TCA_BPF_TAG), options.find(TCA_BPF_OPS)) {
        (Some(tag), _) => value(name, tag.payload, &how),
        (None, ops) => {
            let digest = Digest::of([ops.map(|attr| attr.payload).unwrap_or_default()]).0;
            value(b"classic", &digest[..8], &how)
        }
    }
}

/// A number of an attribute, in the order of this machine.
pub(super) fn number(attr: &Attr<'_>) -> Option<u32> {
    Some(u32::from_ne_bytes(attr.payload.try_into().ok()?))
}
