//! Where the host stands: its addresses, and whether it forwards. Decides which way the packets of a flow take.

use super::PipelineError;
use super::impact::Judges;
use super::look::open_netns;
use crate::collect::{self, CollectError};
use crate::config::Settings;
use crate::model::Digest;
use crate::policy::Policy;
use crate::record::Memory;
use crate::traffic::packets::Ends;
use crate::traffic::walk::Path;
use std::net::IpAddr;

/// What a namespace says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Its addresses, without those of the loopback network.
    pub(super) own: Vec<IpAddr>,
    /// The names of its interfaces.
    pub(super) interfaces: Vec<Vec<u8>>,
    /// Whether it forwards IPv4 or IPv6.
    forwards: bool,
}

impl Place {
    /// Of the namespace that the settings name.
    pub(super) fn of(settings: &Settings) -> Result<Self, PipelineError> {
        let netns = open_netns(settings)?;
        let read = || {
            let is_on = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
            // These files are those of the namespace of whoever opens them (net/sysctl_net.c).
            let forwards =
                is_on("/proc/sys/net/ipv4/ip_forward") || is_on("/proc/sys/net/ipv6/conf/all/forwarding");
            let addresses = collect::addresses::addresses()?;
            Ok((addresses, collect::links::interfaces()?, forwards))
        };
        let (addresses, interfaces, forwards) =
            netns.run(read).map_err(CollectError::Netns)?.map_err(CollectError::Links)?;
        let interfaces = interfaces.into_values().collect();
        let is_own = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback(),
            // Link-local ones say nothing of where a flow goes.
            IpAddr::V6(address) => !address.is_loopback() && address.segments()[0] & 0xffc0 != 0xfe80,
        };
        Ok(Self { own: addresses.into_iter().filter(is_own).collect(), interfaces, forwards })
    }

    /// A digest of all of it.
    pub(super) fn digest(&self) -> Digest {
        let own: Vec<Vec<u8>> = self.own.iter().map(|address| address.to_string().into_bytes()).collect();
        let parts = own.iter().chain(&self.interfaces).map(Vec::as_slice);
        Digest::of(parts.chain([&[u8::from(self.forwards)][..]]))
    }

    /// The host itself as one end of a flow; any address where it has none yet.
    pub(super) fn itself(&self) -> Ends {
        let mut ends = Ends::default();
        for address in &self.own {
            match address {
                IpAddr::V4(address) => ends.v4.push(one(u32::from(*address).into())),
                IpAddr::V6(address) => ends.v6.push(one(u128::from(*address))),
            }
        }
        ends.v4.sort_unstable();
        ends.v6.sort_unstable();
        ends.any = self.own.is_empty();
        ends
    }

    /// The way of packets between two ends: to this host, from it, or through it. Where the addresses do not tell (a
    /// host without any, or one that does not forward), to this host.
    pub(super) fn path(&self, from: &Ends, to: &Ends) -> Path {
        match (self.has(from), self.has(to)) {
            (_, true) => Path::Input,
            (true, false) => Path::Output,
            (false, false) if self.forwards && !self.own.is_empty() => Path::Forward,
            (false, false) => Path::Input,
        }
    }

    /// Whether one of its addresses is among those of an end that names some.
    fn has(&self, ends: &Ends) -> bool {
        let within = |ranges: &[(u128, u128)], value: u128| {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
        };
        self.own.iter().any(|address| match address {
            IpAddr::V4(address) => within(&ends.v4, u32::from(*address).into()),
            IpAddr::V6(address) => within(&ends.v6, u128::from(*address)),
        })
    }
}

/// A policy on this host: what effects and flows are judged by.
pub(super) struct Judged {
    pub(super) place: Place,
    /// Of the policy, and of where the host stands as far as the policy asks for it.
    pub(super) digest: String,
}

impl Judged {
    /// Reads where the host stands, if the policy has flows.
    pub(super) fn of(settings: &Settings, policy: &Policy, bytes: &[u8]) -> Result<Self, PipelineError> {
        let place = if policy.flows.is_empty() { Place::default() } else { Place::of(settings)? };
        let digest = Digest::of([bytes, &place.digest().0]).to_string();
        Ok(Self { place, digest })
    }

    /// Whether what is remembered was judged in the same way.
    pub(super) fn is_of(&self, memory: Option<&Memory>) -> bool {
        memory.is_some_and(|memory| memory.judged.as_ref() == Some(&self.digest))
    }

    /// For [`super::impact::assess`].
    pub(super) fn judges<'a>(&'a self, policy: &'a Policy) -> Judges<'a> {
        Judges { policy, place: &self.place }
    }
}

fn one(value: u128) -> (u128, u128) {
    (value, value)
}
