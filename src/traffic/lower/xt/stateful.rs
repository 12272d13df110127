//! Matches whose answer depends on packets that came before: rates, counts, lists. Pure.
//!
//! Each is a free variable of its own rule, unless the answer is the same for all packets.

use super::{Asked, Free, Info, short_digest};
use crate::traffic::space::Space;
use crate::traffic::test::Test;

/// Seconds of a period, and iptables' name of it.
const PERIODS: [(u64, &str); 4] = [(86_400, "day"), (3600, "hour"), (60, "min"), (1, "sec")];

/// A rate, of which the kernel has the time between two packets in parts of a second: by the shortest period that is
/// exact, else by the longest.
fn rate(between: u64, scale: u64) -> String {
    let between = between.max(1);
    let exact =
        |(seconds, _): &(u64, &str)| scale * seconds >= between && (scale * seconds).is_multiple_of(between);
    let (seconds, name) = PERIODS.into_iter().rev().find(exact).unwrap_or(PERIODS[0]);
    format!("{}/{name}", scale * seconds / between)
}

/// What a rule's own state decides.
pub(super) fn words(asked: &Asked<'_>) -> Option<Free> {
    let info = asked.info();
    let own = |text: String, inverted: bool| Some(Free { text, inverted, own: true });
    match asked.name {
        b"limit" => {
            let (average, burst) = (info.u32(0)?, info.u32(4)?);
            own(format!("limit: avg {} burst {burst}", rate(average.into(), 10_000)), false)
        }
        b"hashlimit" => hashlimit(info, asked.revision),
        b"connlimit" => {
            let (limit, flags) = (info.u32(16)?, info.u32(20)?);
            let side = if flags & 2 == 0 { "--connlimit-saddr" } else { "--connlimit-daddr" };
            let mask: u32 = info.bytes(0, 16)?.iter().map(|byte| byte.count_ones()).sum();
            own(format!("connlimit --connlimit-above {limit} --connlimit-mask {mask} {side}"), flags & 1 != 0)
        }
        b"quota" => own(format!("quota --quota {}", info.u64(8)?), info.u32(0)? & 1 != 0),
        b"rateest" => {
            let names = [info.string(0, 16)?, info.string(16, 16)?].join(" ");
            let numbers = short_digest(info.bytes(32, 20)?);
            own(format!("rateest {} #{numbers}", names.trim()), info.u16(32)? & 1 != 0)
        }
        _ => None,
    }
}

/// What the text of a rate, a quota or a count says while nothing is exceeded; none of what is no limit.
pub(super) fn within(name: &[u8]) -> Option<bool> {
    match name {
        b"limit" | b"hashlimit" | b"quota" => Some(true),
        // Its text is `--connlimit-above`.
        b"connlimit" => Some(false),
        _ => None,
    }
}

/// `struct xt_hashlimit_info`, `struct xt_hashlimit_mtinfo1`, `2` and `3`.
fn hashlimit(info: Info<'_>, revision: u32) -> Option<Free> {
    const INVERT: u32 = 1 << 4;
    const BYTES: u32 = 1 << 5;
    const RATE_MATCH: u32 = 1 << 6;
    let (name, average, burst, mode, scale) = match revision {
        0 | 1 => {
            let (average, burst) = (info.u32(20)?.into(), u64::from(info.u32(24)?));
            (info.string(0, 16)?, average, burst, info.u32(16)?, 10_000)
        }
        2 | 3 => (info.string(0, 255)?, info.u64(256)?, info.u64(264)?, info.u32(272)?, 1_000_000),
        _ => return None,
    };
    let masks = match revision {
        0 => String::new(),
        1 => format!(" /{} /{}", info.u8(44)?, info.u8(45)?),
        2 => format!(" /{} /{}", info.u8(292)?, info.u8(293)?),
        _ => format!(" /{} /{}", info.u8(296)?, info.u8(297)?),
    };
    let amount = match (mode & BYTES, mode & RATE_MATCH) {
        (0, 0) => rate(average, scale),
        (0, _) => format!("{average} in an interval"),
        _ => format!("{average} (bytes)"),
    };
    let parts = ["dstip", "dstport", "srcip", "srcport"].into_iter().enumerate();
    let parts: Vec<&str> = parts.filter(|(bit, _)| mask_has(mode, *bit)).map(|(_, name)| name).collect();
    let text = format!(
        "hashlimit --hashlimit-upto {amount} --hashlimit-burst {burst} --hashlimit-mode {}{masks} \
         --hashlimit-name {name}",
        parts.join(","),
    );
    Some(Free { text, inverted: mode & INVERT != 0, own: true })
}

fn mask_has(mask: u32, bit: usize) -> bool {
    mask >> bit & 1 == 1
}

/// `struct xt_statistic_info`.
pub(super) fn statistic(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    /// Probability 1, of 31 random bits.
    const SURE: u32 = 1 << 31;
    let info = asked.info();
    let inverted = info.u16(2)? & 1 != 0;
    let (mode, first) = (info.u16(0)?, info.u32(4)?);
    let text = match (mode, first) {
        (0, 0) => return Some(Test::never().inverted_if(inverted)),
        (0, SURE..) => return Some(Test::ALWAYS.inverted_if(inverted)),
        (0, part) => {
            format!("statistic --mode random --probability {:.11}", f64::from(part) / f64::from(SURE))
        }
        // `every` is one less than what was asked for: with 0, each packet is the one.
        (1, 0) => return Some(Test::ALWAYS.inverted_if(inverted)),
        (1, every) => {
            format!("statistic --mode nth --every {} --packet {}", u64::from(every) + 1, info.u32(8)?)
        }
        _ => return None,
    };
    Some(Free { text, inverted, own: true }.test(space, asked))
}

/// `struct xt_recent_mtinfo`, `struct xt_recent_mtinfo_v1`.
pub(super) fn recent(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const SET: u8 = 1 << 1;
    let info = asked.info();
    let (seconds, hits, asks, inverted) = (info.u32(0)?, info.u32(4)?, info.u8(8)?, info.u8(9)? != 0);
    let name = info.string(10, 200)?;
    let side = if info.u8(210)? == 0 { "--rsource" } else { "--rdest" };
    // Putting an address on the list is true of each packet.
    if asks & SET != 0 {
        return Some(Test::ALWAYS.inverted_if(inverted));
    }
    let mut text = String::from("recent");
    for (bit, word) in [(1, "--rcheck"), (1 << 2, "--update"), (1 << 3, "--remove")] {
        if asks & bit != 0 {
            text.push_str(&format!(" {word}"));
        }
    }
    if seconds != 0 {
        text.push_str(&format!(" --seconds {seconds}"));
    }
    if asks & 1 << 5 != 0 {
        text.push_str(" --reap");
    }
    if hits != 0 {
        text.push_str(&format!(" --hitcount {hits}"));
    }
    if asks & 1 << 4 != 0 {
        text.push_str(" --rttl");
    }
    text.push_str(&format!(" --name {name} {side}"));
    if let Some(mask) = info.bytes(212, 16).filter(|_| asked.revision > 0) {
        let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
        if ones != 128 {
            text.push_str(&format!(" /{ones}"));
        }
    }
    Some(Free { text, inverted, own: true }.test(space, asked))
}
