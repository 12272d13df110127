//! `fwdrift trace`.

use super::diff::BootArgs;
use super::output::Output;
use crate::config::{Format, Settings};
use crate::pipeline::PacketQuestion;
use crate::traffic::packets::Direction;
use crate::traffic::space::Kind;
use crate::traffic::walk::Path;
use crate::traffic::words::{icmp_type_number, protocol_number};
use crate::{pipeline, report};
use clap::ValueEnum;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fwdrift trace tcp 10.0.1.5:40000 10.0.2.9:3306
  fwdrift trace udp 10.0.1.5 [2001:db8::9]:53 --in eth0        # both ends are of one family
  fwdrift trace icmp 10.0.1.5 10.0.2.9 --type echo-request
  fwdrift trace tcp 10.0.2.9:3306 10.0.1.5:40000 --hook output --state established --reply

What is not given is that of a usual packet: no mark, no options, a SYN for a new TCP connection.

Exit status: 0 the verdict is known, 2 could not determine.")]
pub struct Args {
    /// tcp, udp, icmp, icmpv6, sctp, … or a number
    #[arg(value_name = "PROTOCOL")]
    protocol: String,
    /// ADDRESS or ADDRESS:PORT; an IPv6 address with a port in brackets
    #[arg(value_name = "SOURCE")]
    source: String,
    /// As the source
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// The packet's way [default: by this host's addresses]
    #[arg(long, value_name = "HOOK")]
    hook: Option<HookArg>,
    /// The interface that it comes in by
    #[arg(long = "in", value_name = "IF")]
    iif: Option<String>,
    /// The interface that it goes out by
    #[arg(long = "out", value_name = "IF")]
    oif: Option<String>,
    /// The state of its connection
    #[arg(long, value_name = "STATE", default_value = "new")]
    state: StateArg,
    /// It answers: its connection was begun by the other end
    #[arg(long)]
    reply: bool,
    /// Type of ICMP, by name or number
    #[arg(long = "type", value_name = "TYPE")]
    icmp_type: Option<String>,
    /// Code of ICMP
    #[arg(long = "code", value_name = "CODE", default_value_t = 0)]
    icmp_code: u8,
    /// Through what: live, baseline, boot, a git revision, a file
    #[arg(long, value_name = "SIDE", default_value = "live")]
    against: String,
    #[command(flatten)]
    boot: BootArgs,
}

/// A way through the host.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum HookArg {
    /// To this host
    Input,
    /// Through it
    Forward,
    /// From it
    Output,
}

/// A state of connection tracking.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateArg {
    New,
    Established,
    Related,
    Invalid,
    Untracked,
}

impl StateArg {
    fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Related => "related",
            Self::Invalid => "invalid",
            Self::Untracked => "untracked",
        }
    }
}

/// Follows one packet.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("trace", &[Format::Text, Format::Json])?;
    let question = question(args)?;
    let result = pipeline::trace(settings, &question, &args.against, &args.boot.boot_root)?;
    let text = match settings.format {
        Format::Json => report::trace::json(&result),
        Format::Text | Format::Markdown | Format::Junit | Format::Sarif => {
            report::trace::text(&result, &output.options())
        }
    };
    output.print(&text)?;
    Ok(result.exit_code())
}

fn question(args: &Args) -> anyhow::Result<PacketQuestion> {
    let (source, source_port) = end(&args.source)?;
    let (destination, destination_port) = end(&args.destination)?;
    if source.is_ipv4() != destination.is_ipv4() {
        anyhow::bail!("{source} and {destination} are of two families: no packet goes from one to the other");
    }
    let kind = if source.is_ipv4() { Kind::Ip4 } else { Kind::Ip6 };
    let named = match (args.protocol.as_str(), kind) {
        ("icmp", Kind::Ip6) | ("icmp6" | "ipv6-icmp", _) => "icmpv6",
        (name, _) => name,
    };
    let protocol = protocol_number(named).ok_or_else(|| {
        anyhow::anyhow!("{:?} is no protocol: write tcp, udp, icmp, … or its number", args.protocol)
    })?;
    let is_icmp = matches!(protocol, 1 | 58);
    if is_icmp && (source_port.is_some() || destination_port.is_some()) {
        anyhow::bail!("{named} has no ports; --type and --code say which message it is");
    }
    let icmp = match (&args.icmp_type, is_icmp) {
        (None, true) => Some(if protocol == 58 { 128 } else { 8 }),
        (Some(name), true) => Some(icmp_type_number(kind, name).ok_or_else(|| {
            anyhow::anyhow!("{name:?} is no type of {named}: write echo-request, … or its number")
        })?),
        (None, false) => None,
        (Some(_), false) => anyhow::bail!("--type is for icmp and icmpv6"),
    };
    let path = args.hook.map(|hook| match hook {
        HookArg::Input => Path::Input,
        HookArg::Forward => Path::Forward,
        HookArg::Output => Path::Output,
    });
    let direction = if args.reply { Direction::Reply } else { Direction::Original };
    Ok(PacketQuestion {
        protocol,
        source,
        destination,
        source_port,
        destination_port,
        icmp: icmp.map(|kind| (kind, args.icmp_code)),
        path,
        iif: args.iif.clone(),
        oif: args.oif.clone(),
        state: args.state.as_str(),
        direction,
    })
}

/// `10.0.1.5`, `10.0.1.5:40000`, `2001:db8::1`, `[2001:db8::1]:443`.
fn end(text: &str) -> anyhow::Result<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && let Ok(address) = address.parse::<Ipv6Addr>()
    {
        return Ok((address.into(), None));
    }
    match text.parse::<SocketAddr>() {
        Ok(socket) => Ok((socket.ip(), Some(socket.port()))),
        Err(_) => {
            anyhow::bail!("{text:?} is no address: write 10.0.1.5, 10.0.1.5:40000 or [2001:db8::1]:443")
        }
    }
}
