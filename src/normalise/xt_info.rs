//! Bytes of xt extensions that the kernel never reads, or whose value changes nothing. Pure.
//!
//! The kernel keeps and dumps an extension's structure as it was sent, also those parts that it makes no use of.
//! Programs leave different things there: `iptables -A … -m connlimit` fills an IPv4 mask with 16 bytes of ones, and
//! `iptables-restore` of what iptables-save printed of it with four. Such bytes get one value here. The list holds
//! only what the kernel's source proves, for all kernels since 5.10; where the effect of a byte depends on other
//! rules, it is left alone (see `xt_recent`). Layouts: linux/netfilter/xt_*.h, linux/netfilter_ipv6/ip6t_*.h.

use crate::model::Family;

/// `struct ipt_icmp`: type, codes from and to.
const ICMP_ANY: u8 = 0xff;
/// `IP6T_FRAG_IDS`, in `struct ip6t_frag`: ids from and to, length, flags.
const FRAG_IDS: u8 = 0x01;
const FRAG_FLAGS: usize = 12;
/// `IP6T_RT_SGS`, in `struct ip6t_rt`: type, segments left from and to, length, flags.
const RT_SGS: u8 = 0x02;
const RT_FLAGS: usize = 16;
/// `struct xt_recent_mtinfo_v1`: seconds, hits, two bytes, and a name of 200 bytes.
const RECENT_NAME: std::ops::Range<usize> = 10..210;

/// The bytes of a match or a target with one value for what has no effect; none if they have it already.
pub fn neutral(family: Family, name: &[u8], revision: u32, info: &[u8]) -> Option<Vec<u8>> {
    let edit: fn(&mut [u8]) -> Option<()> = match (name, revision, family) {
        // connlimit_mt (net/netfilter/xt_connlimit.c) takes the first word of the mask for IPv4.
        (b"connlimit", 0 | 1, Family::Ip) => |bytes| {
            bytes.get_mut(4..16)?.fill(0);
            Some(())
        },
        // hmark_tg_v4 (net/netfilter/xt_HMARK.c) takes the first word of each of its two masks.
        (b"HMARK", 0, Family::Ip) => |bytes| {
            bytes.get_mut(..32)?[4..16].fill(0);
            bytes.get_mut(20..32)?.fill(0);
            Some(())
        },
        // icmp_type_code_match (net/ipv4/netfilter/ip_tables.c, later net/netfilter/xt_tcpudp.c) looks at no code
        // if the type is 255; iptables prints 255/255 as "any", and reads that as all codes.
        (b"icmp", 0, Family::Ip) if info.first() == Some(&ICMP_ANY) => |bytes| {
            bytes.get_mut(1..3)?.copy_from_slice(&[0, 0xff]);
            Some(())
        },
        // frag_mt6 (net/ipv6/netfilter/ip6t_frag.c) compares the ids whether this flag is set or not.
        (b"frag", 0, Family::Ip6) => |bytes| {
            *bytes.get_mut(FRAG_FLAGS)? &= !FRAG_IDS;
            Some(())
        },
        // rt_mt6 (net/ipv6/netfilter/ip6t_rt.c) compares the segments left whether this flag is set or not.
        (b"rt", 0, Family::Ip6) => |bytes| {
            *bytes.get_mut(RT_FLAGS)? &= !RT_SGS;
            Some(())
        },
        // recent_table_lookup (net/netfilter/xt_recent.c) reads a string. iptables writes a short name over its
        // default, of which the end stays.
        (b"recent", 0 | 1, _) => |bytes| {
            let name = bytes.get_mut(RECENT_NAME)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            name[end..].fill(0);
            Some(())
        },
        _ => return None,
    };
    let mut bytes = info.to_vec();
    edit(&mut bytes)?;
    (bytes != info).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(family: Family, name: &[u8], info: &[u8], expect: Option<&[u8]>) {
        let revision = u32::from([&b"connlimit"[..], b"recent"].contains(&name));
        assert_eq!(neutral(family, name, revision, info).as_deref(), expect);
    }

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn an_ipv4_mask_has_four_bytes_and_an_ipv6_mask_all_of_them() {
        let full = joined(&[&[0xff; 16], &[3, 0, 0, 0, 1, 0, 0, 0], &[0; 8]]);
        let short = joined(&[&[0xff; 4], &[0; 12], &[3, 0, 0, 0, 1, 0, 0, 0], &[0; 8]]);
        check(Family::Ip, b"connlimit", &full, Some(&short));
        check(Family::Ip, b"connlimit", &short, None);
        for family in [Family::Ip6, Family::Inet, Family::Bridge] {
            check(family, b"connlimit", &full, None);
        }
        let full = joined(&[&[0xff; 32], &[1; 32]]);
        let short = joined(&[&[0xff; 4], &[0; 12], &[0xff; 4], &[0; 12], &[1; 32]]);
        check(Family::Ip, b"HMARK", &full, Some(&short));
        check(Family::Ip6, b"HMARK", &full, None);
    }

    #[test]
    fn codes_count_unless_the_type_is_any() {
        check(Family::Ip, b"icmp", &[0xff, 0xff, 0xff, 1, 0, 0, 0, 0], Some(&[0xff, 0, 0xff, 1, 0, 0, 0, 0]));
        check(Family::Ip, b"icmp", &[3, 4, 4, 0, 0, 0, 0, 0], None);
        check(Family::Ip6, b"icmp6", &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0], None);
    }

    #[test]
    fn a_flag_that_is_not_read_is_dropped_and_those_beside_it_stay() {
        let frag = |flags: u8| joined(&[&[0; 4], &[0xff; 4], &[0; 4], &[flags, 1, 0, 0]]);
        check(Family::Ip6, b"frag", &frag(0x3f), Some(&frag(0x3e)));
        check(Family::Ip6, b"frag", &frag(0x3e), None);
        let rt = |flags: u8| joined(&[&[0; 8], &[0xff; 4], &[0; 4], &[flags, 2, 0, 0], &[0; 260]]);
        check(Family::Ip6, b"rt", &rt(0x3f), Some(&rt(0x3d)));
        check(Family::Ip6, b"rt", &rt(0x3d), None);
    }

    #[test]
    fn a_lists_name_ends_at_its_first_nul_and_the_mask_stays() {
        let recent = |name: &[u8]| {
            let mut info = vec![0; 232];
            info[10..10 + name.len()].copy_from_slice(name);
            info[212..228].fill(0xff);
            info
        };
        check(Family::Ip, b"recent", &recent(b"x\0FAULT"), Some(&recent(b"x")));
        check(Family::Ip, b"recent", &recent(b"xFAULT"), None);
    }

    /// Of how many bits of a structure the value is nothing, by byte.
    fn ignored(family: Family, name: &[u8], info: &[u8]) -> Vec<(usize, u32)> {
        let revision = u32::from([&b"connlimit"[..], b"recent"].contains(&name));
        let seen = |info: &[u8]| neutral(family, name, revision, info).unwrap_or_else(|| info.to_vec());
        let mut found = Vec::new();
        for byte in 0..info.len() {
            let is_ignored = |bit: &u32| {
                let mut other = info.to_vec();
                other[byte] ^= 1 << bit;
                seen(&other) == seen(info)
            };
            let count = (0..8).filter(is_ignored).count() as u32;
            found.extend((count > 0).then_some((byte, count)));
        }
        found
    }

    #[test]
    fn every_other_bit_of_these_structures_is_compared() {
        let all = |range: std::ops::Range<usize>| range.map(|byte| (byte, 8)).collect::<Vec<_>>();
        assert_eq!(ignored(Family::Ip, b"connlimit", &[5; 32]), all(4..16));
        assert_eq!(ignored(Family::Ip, b"HMARK", &[5; 64]), [all(4..16), all(20..32)].concat());
        assert_eq!(ignored(Family::Ip, b"icmp", &[0xff, 0, 0xff, 0, 0, 0, 0, 0]), all(1..3));
        assert_eq!(ignored(Family::Ip, b"icmp", &[8, 0, 0xff, 0, 0, 0, 0, 0]), []);
        assert_eq!(ignored(Family::Ip6, b"frag", &[5; 16]), [(12, 1)]);
        assert_eq!(ignored(Family::Ip6, b"rt", &[5; 280]), [(16, 1)]);
        let name = |family, name: &[u8]| ignored(family, b"recent", &joined(&[&[5; 10], name, &[5; 22]]));
        let padded = joined(&[b"name", &[0; 196]]);
        assert_eq!(name(Family::Ip, &padded), all(15..210));
        assert_eq!(name(Family::Ip6, &padded), all(15..210));
        assert_eq!(name(Family::Ip, &[b'n'; 200]), []);
    }

    #[test]
    fn a_structure_of_another_size_or_revision_is_left_alone() {
        check(Family::Ip, b"connlimit", &[0xff; 8], None);
        check(Family::Ip6, b"frag", &[0xff; 4], None);
        assert_eq!(neutral(Family::Ip, b"connlimit", 2, &[0xff; 32]), None);
        assert_eq!(neutral(Family::Ip, b"recent", 1, &[0xff; 232]), None);
    }
}
