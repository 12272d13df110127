//! Services that make rules by means that cannot be repeated in a scratch namespace.

use super::root::Root;
use super::{Makes, Unseen};
use crate::model::Family;
use std::os::unix::fs::MetadataExt;

/// What to do so that it can be repeated.
pub const FOLLOWED: &str =
    "load the rules from a file with `nft -f FILE` in an enabled unit: that can be followed";

/// Directories of what ifupdown and NetworkManager run when an interface comes up.
const HOOKS: [&str; 4] = [
    "/etc/network/interfaces.d",
    "/etc/network/if-pre-up.d",
    "/etc/network/if-up.d",
    "/etc/NetworkManager/dispatcher.d",
];

const UNREAD: &str = "its file is not read by this version";

/// What cannot be seen of a service; none if it is not known to make rules.
pub fn known(name: &str) -> Option<Unseen> {
    let unseen = |reason: &str, hint: &str, blinds, makes| {
        let (source, reason, hint) = (format!("boot: {name}"), reason.to_owned(), Some(hint.to_owned()));
        Some(Unseen { source, reason, hint, blinds, makes })
    };
    let own = "what it makes when it starts is not known before: its tables count as made again";
    let compare = "compare the live state with the baseline: `fwdrift check`";
    match name {
        "firewalld" => unseen(
            "its rules cannot be rendered without its daemon, which needs D-Bus and changes the live state",
            "`firewall-cmd --permanent --list-all-zones` against `firewall-cmd --list-all-zones` shows what \
             was not saved",
            true,
            Makes::Tables(&["firewalld"]),
        ),
        "shorewall"
        | "shorewall6"
        | "ferm"
        | "firehol"
        | "fireqos"
        | "arno-iptables-firewall"
        | "apf"
        | "csf"
        | "pyroman"
        | "foomuuri"
        | "awall" => unseen(
            "it makes its rules with a program of its own, which fwdrift does not run",
            compare,
            true,
            Makes::Everything,
        ),
        "arptables" => unseen(UNREAD, compare, true, Makes::Family(Family::Arp)),
        "ebtables" => unseen(UNREAD, compare, true, Makes::Family(Family::Bridge)),
        "docker" | "dockerd" | "podman" => {
            unseen(own, compare, false, Makes::Tables(&["filter", "nat", "raw", "mangle", "netavark"]))
        }
        "libvirtd" | "virtnetworkd" | "libvirt" => {
            unseen(own, compare, false, Makes::Tables(&["filter", "nat", "mangle", "libvirt_network"]))
        }
        "kubelet" | "k3s" | "k3s-agent" | "rke2-server" | "rke2-agent" => {
            unseen(own, compare, false, Makes::Tables(&["filter", "nat", "mangle", "raw", "kube-proxy"]))
        }
        "fail2ban" | "sshguard" | "crowdsec-firewall-bouncer" => unseen(
            own,
            compare,
            false,
            Makes::Tables(&["filter", "f2b-table", "sshguard", "crowdsec", "crowdsec6"]),
        ),
        _ => None,
    }
}

/// Programs whose scripts name the tools without loading rules.
pub fn may_make_rules(program: &str) -> bool {
    !["fwdrift", "networking", "ifup", "ifdown", "cloud-init"].contains(&program)
}

/// Files that a boot runs beside services, where people put `iptables-restore`.
pub fn hooks(root: &Root) -> Vec<Unseen> {
    let mut paths = vec!["/etc/rc.local".to_owned(), "/etc/rc.d/rc.local".to_owned()];
    paths.push("/etc/network/interfaces".to_owned());
    for directory in HOOKS {
        paths.extend(root.names(directory).into_iter().map(|name| format!("{directory}/{name}")));
    }
    let runs = |path: &String| {
        let is_script = !path.starts_with("/etc/network/interfaces");
        let mode = std::fs::metadata(root.at(path)).map(|meta| meta.mode());
        (!is_script || mode.is_ok_and(|mode| mode & 0o111 != 0)) && runs_a_tool(&root.text(path))
    };
    let unseen = |path: String| Unseen {
        source: format!("boot: {path}"),
        reason: "it runs a firewall tool at boot, which fwdrift cannot repeat".to_owned(),
        hint: Some(FOLLOWED.to_owned()),
        blinds: true,
        makes: Makes::Everything,
    };
    paths.into_iter().filter(runs).map(unseen).collect()
}

/// Whether a script's text has the words with which rules are loaded.
pub fn runs_a_tool(text: &str) -> bool {
    let code = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let tools = ["nft ", "iptables ", "ip6tables ", "tables-restore", "ipset "];
    code.into_iter().any(|line| tools.iter().any(|tool| line.contains(tool)))
}
