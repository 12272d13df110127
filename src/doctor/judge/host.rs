//! Privileges and kernel.

use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;

/// A capability, why fwdrift needs it, and whether anything works without (linux/capability.h).
struct Capability {
    bit: u32,
    finding: &'static str,
    name: &'static str,
    purpose: &'static str,
    needed: bool,
}

const CAPABILITIES: [Capability; 4] = [
    Capability {
        bit: 12,
        finding: "privileges.cap_net_admin",
        name: "CAP_NET_ADMIN",
        purpose: "read the firewall",
        needed: true,
    },
    Capability {
        bit: 21,
        finding: "privileges.cap_sys_admin",
        name: "CAP_SYS_ADMIN",
        purpose: "make scratch namespaces, enter others",
        needed: true,
    },
    Capability {
        bit: 37,
        finding: "privileges.cap_audit_read",
        name: "CAP_AUDIT_READ",
        purpose: "receive audit records as they happen",
        needed: false,
    },
    Capability {
        bit: 30,
        finding: "privileges.cap_audit_control",
        name: "CAP_AUDIT_CONTROL",
        purpose: "ask the kernel whether auditing is on",
        needed: false,
    },
];

/// The oldest kernel that fwdrift is made for.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = privileges(facts);
    findings.push(release(&facts.kernel_release));
    findings.push(nf_tables(facts));
    findings.push(match &facts.scratch_namespace {
        Ok(()) => Finding::ok("kernel.scratch_namespace", "a scratch network namespace can be made"),
        Err(reason) => {
            Finding::fail("kernel.scratch_namespace", format!("no scratch network namespace: {reason}"))
                .remedy("run as root on the host, or give the container CAP_SYS_ADMIN")
        }
    });
    findings
}

fn privileges(facts: &Facts) -> Vec<Finding> {
    let process = &facts.process;
    let mut findings = vec![if process.euid == 0 {
        Finding::ok("privileges.user", "root")
    } else {
        Finding::info("privileges.user", format!("uid {}, not root", process.euid))
    }];
    if process.user_namespace {
        findings.push(
            Finding::warn(
                "privileges.user_namespace",
                "inside a user namespace (a container): audit and the host's own firewall are out of reach",
            )
            .remedy("run fwdrift on the host itself"),
        );
    }
    findings.extend(CAPABILITIES.iter().map(|capability| {
        let Capability { name, purpose, .. } = capability;
        if process.effective >> capability.bit & 1 == 1 {
            return Finding::ok(capability.finding, format!("{name}: can {purpose}"));
        }
        let detail = format!("{name} is missing: cannot {purpose}");
        let finding = if capability.needed {
            Finding::fail(capability.finding, detail)
        } else {
            Finding::warn(capability.finding, detail)
        };
        finding.remedy(regain(facts, name))
    }));
    findings
}

/// How a missing capability is to be had: by becoming root, or for root, from what took it away.
fn regain(facts: &Facts, capability: &str) -> String {
    if facts.process.euid == 0 {
        format!("give {capability} to the container, or to the unit's CapabilityBoundingSet=")
    } else {
        "sudo fwdrift doctor".to_owned()
    }
}

fn release(release: &str) -> Finding {
    let name = "kernel.release";
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Finding::warn(name, format!("{release}: not a version that fwdrift understands"));
    };
    if (major, minor) >= OLDEST_KERNEL {
        return Finding::ok(name, release);
    }
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    Finding::fail(name, format!("{release} is older than {oldest_major}.{oldest_minor}"))
        .remedy("upgrade the kernel and boot it")
}

fn nf_tables(facts: &Facts) -> Finding {
    match &facts.sources.nft {
        Ok(_) => Finding::ok("kernel.nf_tables", "nf_tables answers"),
        Err(reason) => {
            let finding = Finding::fail("kernel.nf_tables", format!("nf_tables does not answer: {reason}"));
            let net_admin = facts.process.effective >> CAPABILITIES[0].bit & 1 == 1;
            finding.remedy(if net_admin {
                "modprobe nf_tables".to_owned()
            } else {
                regain(facts, CAPABILITIES[0].name)
            })
        }
    }
}
