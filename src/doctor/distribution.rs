//! How this distribution installs packages and what it calls them. Pure.

/// What installs packages here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu and their kin.
    Apt,
    /// Fedora, RHEL and its rebuilds.
    Dnf,
    /// Alpine.
    Apk,
    /// Arch.
    Pacman,
    /// Any other.
    Unknown,
}

/// Something that fwdrift may ask to have installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// `nft`.
    Nftables,
    /// `iptables-nft-save` and its siblings.
    IptablesNft,
    /// `iptables-legacy-save` and its siblings.
    IptablesLegacy,
    /// `ipset`.
    Ipset,
    /// `git`.
    Git,
    /// `getent`.
    Getent,
    /// `auditd`, `auditctl` and `augenrules`.
    Audit,
}

/// The distribution, as far as it matters for advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// What installs packages.
    pub manager: Manager,
    /// `PRETTY_NAME`; empty if unknown.
    pub name: String,
}

impl Distribution {
    /// Reads the text of `/etc/os-release` (os-release(5)): `ID` first, then each word of `ID_LIKE`.
    pub fn from_os_release(text: &str) -> Self {
        let field = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
                .unwrap_or_default()
        };
        let ids = format!("{} {}", field("ID"), field("ID_LIKE"));
        let manager = ids
            .split_whitespace()
            .find_map(|id| match id {
                "debian" | "ubuntu" => Some(Manager::Apt),
                "fedora" | "rhel" | "centos" => Some(Manager::Dnf),
                "alpine" => Some(Manager::Apk),
                "arch" => Some(Manager::Pacman),
                _ => None,
            })
            .unwrap_or(Manager::Unknown);
        Self { manager, name: field("PRETTY_NAME") }
    }

    /// The command that installs `package`; a sentence where the package manager is unknown.
    pub fn install(&self, package: Package) -> String {
        let name = self.package_name(package);
        match self.manager {
            Manager::Apt => format!("apt-get install {name}"),
            Manager::Dnf => format!("dnf install {name}"),
            Manager::Apk => format!("apk add {name}"),
            Manager::Pacman => format!("pacman -S {name}"),
            Manager::Unknown => format!("install the package with {name} in it"),
        }
    }

    fn package_name(&self, package: Package) -> &'static str {
        match (package, self.manager) {
            (Package::Nftables, Manager::Unknown) => "nft",
            (Package::Nftables, _) => "nftables",
            (Package::IptablesNft, Manager::Dnf) => "iptables-nft",
            (Package::IptablesNft, Manager::Unknown) => "iptables-nft-save",
            (Package::IptablesNft, _) => "iptables",
            (Package::IptablesLegacy, Manager::Dnf | Manager::Apk) => "iptables-legacy",
            (Package::IptablesLegacy, Manager::Unknown) => "iptables-legacy-save",
            (Package::IptablesLegacy, _) => "iptables",
            (Package::Ipset, _) => "ipset",
            (Package::Git, _) => "git",
            (Package::Getent, Manager::Apt) => "libc-bin",
            (Package::Getent, Manager::Dnf) => "glibc-common",
            (Package::Getent, Manager::Apk) => "musl-utils",
            (Package::Getent, Manager::Pacman) => "glibc",
            (Package::Getent, Manager::Unknown) => "getent",
            (Package::Audit, Manager::Apt | Manager::Unknown) => "auditd",
            (Package::Audit, _) => "audit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(os_release: &str, expect: &str) {
        assert_eq!(Distribution::from_os_release(os_release).install(Package::Audit), expect);
    }

    #[test]
    fn each_known_distribution_gets_its_own_command() {
        check("ID=debian\n", "apt-get install auditd");
        check("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install auditd");
        check("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install audit");
        check("ID=fedora\n", "dnf install audit");
        check("ID=alpine\n", "apk add audit");
        check("ID=manjaro\nID_LIKE=arch\n", "pacman -S audit");
    }

    #[test]
    fn an_unknown_distribution_gets_a_sentence() {
        check("ID=gentoo\n", "install the package with auditd in it");
        check("", "install the package with auditd in it");
    }
}
