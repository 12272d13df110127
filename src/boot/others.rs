//! Services that make rules by means that cannot be repeated in a scratch namespace.

use super::{Makes, Unseen};

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
        "arptables" | "ebtables" => {
            unseen("its file is not read by this version", compare, true, Makes::Tables(&["filter", "nat"]))
        }
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
pub fn may_be_followed(program: &str) -> bool {
    !["fwdrift", "networking", "ifup", "ifdown", "cloud-init"].contains(&program)
}
