//! Words for matches without a model, as near to iptables-save's as can be. Pure.

use super::{Asked, Free, Info, short_digest};
use crate::model::text_from_kernel;

/// What a person would write for the extension, and whether it is inverted; none if it is not known here.
pub(super) fn words(asked: &Asked<'_>) -> Option<Free> {
    let info = asked.info();
    let plain = |text: String, inverted: bool| Some(Free { text, inverted, own: false });
    let rest = || format!("#{}", short_digest(asked.info));
    match asked.name {
        b"helper" => {
            let name = info.string(4, 30)?;
            plain(format!("helper --helper \"{name}\""), info.u32(0)? != 0)
        }
        b"string" => string(info, asked.revision),
        b"time" => plain(time(info)?, false),
        b"tcpmss" => {
            let (low, high) = (info.u16(0)?, info.u16(2)?);
            plain(format!("tcpmss --mss {low}:{high}"), info.u8(4)? != 0)
        }
        b"rpfilter" => rpfilter(info),
        b"socket" => plain(socket(info, asked.revision)?, false),
        b"bpf" => bpf(info, asked.revision),
        b"cluster" => {
            let (total, mask, seed) = (info.u32(0)?, info.u32(4)?, info.u32(8)?);
            let text = format!(
                "cluster --cluster-total-nodes {total} --cluster-local-nodemask {mask:#x} \
                 --cluster-hash-seed {seed:#x}"
            );
            plain(text, info.u32(12)? & 1 != 0)
        }
        b"ipvs" => plain(format!("ipvs {}", rest()), false),
        b"l2tp" => plain(l2tp(info)?, false),
        b"osf" => {
            let (genre, flags, ttl) = (info.string(0, 32)?, info.u32(36)?, info.u32(44)?);
            let level = if flags & 2 != 0 { format!(" --ttl {ttl}") } else { String::new() };
            plain(format!("osf --genre {genre}{level}"), flags & 8 != 0)
        }
        b"eui64" => plain("eui64".to_owned(), false),
        b"ipv6header" => {
            let (headers, inverted, soft) = (info.u8(0)?, info.u8(1)?, info.u8(2)? != 0);
            let soft = if soft { " --soft" } else { "" };
            plain(format!("ipv6header --header {headers:#04x}{soft}"), inverted != 0)
        }
        b"frag" | b"rt" | b"hbh" | b"dst" | b"srh" => {
            plain(format!("{} header {}", text_from_kernel(asked.name), rest()), false)
        }
        _ => None,
    }
}

/// `struct xt_string_info`.
fn string(info: Info<'_>, revision: u32) -> Option<Free> {
    let (from, to, algorithm) = (info.u16(0)?, info.u16(2)?, info.string(4, 16)?);
    let pattern = info.bytes(20, usize::from(info.u8(148)?).min(128))?;
    let flags = info.u8(149)?;
    let pattern = if pattern.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        format!("--string \"{}\"", text_from_kernel(pattern))
    } else {
        let digits: String = pattern.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("--hex-string \"|{digits}|\"")
    };
    let mut text = format!("-m string {pattern} --algo {algorithm}");
    if from != 0 {
        text.push_str(&format!(" --from {from}"));
    }
    if to != 0 && to != u16::MAX {
        text.push_str(&format!(" --to {to}"));
    }
    if revision > 0 && flags & 2 != 0 {
        text.push_str(" --icase");
    }
    Some(Free { text, inverted: if revision == 0 { flags != 0 } else { flags & 1 != 0 }, own: false })
}

/// `struct xt_time_info`: seconds, days of the month and of the week as bits.
fn time(info: Info<'_>) -> Option<String> {
    const LAST: u32 = 24 * 60 * 60 - 1;
    let (from, to) = (info.u32(0)?, info.u32(4)?);
    let (begins, ends) = (info.u32(8)?, info.u32(12)?);
    let (month, week, flags) = (info.u32(16)?, info.u8(20)?, info.u8(21)?);
    let clock = |seconds: u32| format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let days = |mask: u32| -> String {
        let days: Vec<String> =
            (1..32).filter(|day| mask >> day & 1 == 1).map(|day| day.to_string()).collect();
        days.join(",")
    };
    let mut text = String::from("time");
    if (begins, ends) != (0, LAST) {
        text.push_str(&format!(" --timestart {} --timestop {}", clock(begins), clock(ends)));
    }
    if month != 0xffff_fffe {
        text.push_str(&format!(" --monthdays {}", days(month)));
    }
    if week != 0xfe {
        text.push_str(&format!(" --weekdays {}", days(week.into())));
    }
    if (from, to) != (0, i32::MAX.unsigned_abs()) && (from, to) != (0, u32::MAX) {
        text.push_str(&format!(" --datestart @{from} --datestop @{to}"));
    }
    for (bit, word) in [(1, " --kerneltz"), (2, " --contiguous")] {
        if flags & bit != 0 {
            text.push_str(word);
        }
    }
    Some(text)
}

/// `struct xt_rpfilter_info`.
fn rpfilter(info: Info<'_>) -> Option<Free> {
    let flags = info.u8(0)?;
    let words = [(1, " --loose"), (2, " --validmark"), (4, " --accept-local")];
    let words: String = words.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| word).collect();
    Some(Free { text: format!("rpfilter{words}"), inverted: flags & 8 != 0, own: false })
}

/// `struct xt_socket_mtinfo1`, `2` and `3`. What `--restore-skmark` does to the mark is not known.
fn socket(info: Info<'_>, revision: u32) -> Option<String> {
    let flags = if revision == 0 { 0 } else { info.u8(0)? };
    let words = [(1, " --transparent"), (2, " --nowildcard"), (4, " --restore-skmark")];
    let words: String = words.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| word).collect();
    Some(format!("socket{words}"))
}

/// `struct xt_bpf_info`, `struct xt_bpf_info_v1`.
fn bpf(info: Info<'_>, revision: u32) -> Option<Free> {
    const INSTRUCTION: usize = 8;
    let program = |count: u16, at: usize| -> Option<String> {
        let program = info.bytes(at, INSTRUCTION * usize::from(count))?;
        Some(format!("bpf --bytecode of {count} instructions #{}", short_digest(program)))
    };
    let text = match (revision, info.u16(0)?) {
        (0, count) => program(count, 4)?,
        (1, 0) => program(info.u16(2)?, 8)?,
        (1, _) => format!("bpf --object-pinned {}", info.string(8, 512)?),
        _ => return None,
    };
    Some(Free { text, inverted: false, own: false })
}

/// `struct xt_l2tp_info`.
fn l2tp(info: Info<'_>) -> Option<String> {
    let (tunnel, session, version) = (info.u32(0)?, info.u32(4)?, info.u8(8)?);
    let kind = if info.u8(9)? == 0 { "control" } else { "data" };
    let words = [
        (1, format!(" --tid {tunnel}")),
        (2, format!(" --sid {session}")),
        (4, format!(" --pversion {version}")),
        (8, format!(" --type {kind}")),
    ];
    let flags = info.u8(10)?;
    let words: String = words.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| word).collect();
    Some(format!("l2tp{words}"))
}
