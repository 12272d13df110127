//! Which systemd unit and which container a cgroup belongs to, by its path. Pure.
//!
//! In: `/proc/PID/cgroup` (cgroups(7)), of version 1, 2 or both. Only the outermost unit counts: whoever is given a
//! part of the tree (a container, a user's own manager) names what is below it as they like.

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The systemd unit. None for a login's session, and for the scope that stands for a container.
    pub unit: Option<String>,
    /// The container's id, or its name where it has only that.
    pub container: Option<String>,
}

/// Ids of Docker, podman, containerd and CRI-O: 32 random bytes, or a digest.
const ID_LENGTH: usize = 64;
/// What runtimes put before the id in the name of a container's scope.
const PREFIXES: [&str; 6] = ["docker-", "libpod-", "libpod-payload-", "cri-containerd-", "crio-", "nerdctl-"];
/// Types of units that have processes (systemd.unit(5)); slices only hold other units.
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// Reads `/proc/PID/cgroup`.
pub(super) fn place(text: &[u8]) -> Place {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        // A path out of the reader's own cgroup namespace starts somewhere that is not known.
        let known = path.starts_with('/') && !path.split('/').any(|part| part == "..");
        known.then_some((controllers, path))
    });
    let lines: Vec<(&str, &str)> = lines.collect();
    let managed = |wanted: &str| {
        lines.iter().find(|(controllers, path)| *controllers == wanted && *path != "/").map(|(_, path)| *path)
    };
    let unit = managed("name=systemd").or_else(|| managed("")).and_then(unit);
    match lines.iter().find_map(|(_, path)| container(path)) {
        Some(Container { name, in_unit }) => Place { unit: unit.filter(|_| in_unit), container: Some(name) },
        None => Place { unit, container: None },
    }
}

/// The first unit below the slices.
fn unit(path: &str) -> Option<String> {
    let first = path.split('/').filter(|part| !part.is_empty()).find(|part| !part.ends_with(".slice"))?;
    // systemd marks names that the kernel could take for its own (`cg_escape`).
    let name = first.strip_prefix('_').unwrap_or(first);
    let is_unit = UNITS.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix));
    let is_session = name.starts_with("session-") && name.ends_with(".scope");
    (is_unit && !is_session).then(|| name.to_owned())
}

struct Container {
    name: String,
    /// Whether the unit around it says more than "some container runtime".
    in_unit: bool,
}

fn container(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.iter().enumerate().find_map(|(at, part)| {
        let (before, after) = (at.checked_sub(1).and_then(|at| parts.get(at)), parts.get(at + 1));
        let bare = part.strip_suffix(".scope").unwrap_or(part);
        // containerd without systemd's help: SLICE:PREFIX:ID.
        let last = bare.rsplit(':').next().unwrap_or(bare);
        let id = [last].into_iter().chain(PREFIXES.iter().filter_map(|prefix| last.strip_prefix(prefix)));
        if let Some(id) = id.into_iter().find(|id| is_id(id)) {
            return Some(Container { name: id.to_owned(), in_unit: bare.starts_with("libpod-payload-") });
        }
        let machine = part.strip_suffix(".scope").and_then(|scope| scope.strip_prefix("machine-"));
        // The hypervisor of a virtual machine runs on the host itself.
        let machine = machine.map(unescape).filter(|name| !name.starts_with("qemu-"));
        let nspawn = part.strip_suffix(".service").and_then(|unit| unit.strip_prefix("systemd-nspawn@"));
        let nspawn = nspawn.filter(|_| after != Some(&"supervisor")).map(unescape);
        let lxc = part.strip_prefix("lxc.payload.").or_else(|| part.strip_prefix("lxc.payload/"));
        let lxc = lxc.or((before == Some(&"lxc")).then_some(*part)).map(str::to_owned);
        let in_unit = nspawn.is_some();
        machine.or(nspawn).or(lxc).map(|name| Container { name, in_unit })
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Undoes systemd-escape(1): `\x2d` is a byte, `-` is a slash. A machine's name holds no slash.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = others.strip_prefix(b"x").and_then(|digits| digits.get(..2));
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f3c2b1a0d9e8f7c6b5a4938271605f4e3d2c1b0a9f8e7d6c5b4a39281706f5e";

    #[track_caller]
    fn check(path: &str, unit: Option<&str>, container: Option<&str>) {
        let expected = Place { unit: unit.map(str::to_owned), container: container.map(str::to_owned) };
        assert_eq!(place(format!("0::{path}\n").as_bytes()), expected, "version 2: {path}");
        let both = format!("9:name=systemd:{path}\n4:memory:{path}\n1:cpu:/\n0::/\n");
        assert_eq!(place(both.as_bytes()), expected, "version 1: {path}");
    }

    #[test]
    fn a_service_is_the_outermost_unit_below_the_slices() {
        check("/system.slice/nftables.service", Some("nftables.service"), None);
        check("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service"), None);
        check("/system.slice/docker.service/helper", Some("docker.service"), None);
        check("/system.slice/_cpu.service", Some("cpu.service"), None);
        check("/system.slice/run-r5f.scope", Some("run-r5f.scope"), None);
        check("/init.scope", Some("init.scope"), None);
        check("/", None, None);
        check("/process/4c75", None, None);
        check("/system.slice/.service", None, None);
    }

    #[test]
    fn a_users_own_units_are_the_users() {
        check(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/nftables.service",
            Some("user@1000.service"),
            None,
        );
        check("/user.slice/user-1000.slice/session-12.scope", None, None);
    }

    #[test]
    fn a_container_is_known_by_the_names_that_its_runtime_gives() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/libpod_parent/libpod-{ID}"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!("/kubepods/burstable/pod6a1e/{ID}"),
            format!("/kubepods.slice/kubepods-pod6a1e.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod6a1e.slice/crio-{ID}.scope"),
            format!("/system.slice/containerd.service/kubepods-pod6a1e.slice:cri-containerd:{ID}"),
            format!("/default/{ID}"),
            format!("/system.slice/nerdctl-{ID}.scope"),
        ] {
            check(&path, None, Some(ID));
        }
        check("/machine.slice/machine-web\\x2d1.scope", None, Some("web-1"));
        check("/lxc.payload.web", None, Some("web"));
        check("/lxc/web", None, Some("web"));
        check(
            "/machine.slice/systemd-nspawn@web.service/payload",
            Some("systemd-nspawn@web.service"),
            Some("web"),
        );
        check(&format!("/system.slice/web.service/libpod-payload-{ID}"), Some("web.service"), Some(ID));
    }

    #[test]
    fn what_runs_beside_a_container_is_not_in_it() {
        check(
            &format!("/machine.slice/libpod-conmon-{ID}.scope"),
            Some(&format!("libpod-conmon-{ID}.scope")),
            None,
        );
        check(
            "/machine.slice/systemd-nspawn@web.service/supervisor",
            Some("systemd-nspawn@web.service"),
            None,
        );
        check("/lxc.monitor.web", None, None);
        let hypervisor = "machine-qemu\\x2d1\\x2ddb.scope";
        check(&format!("/machine.slice/{hypervisor}"), Some(hypervisor), None);
        check(&format!("/docker/{}", &ID[1..]), None, None);
    }

    #[test]
    fn a_container_cannot_call_itself_a_service_of_the_host() {
        check(&format!("/system.slice/docker-{ID}.scope/system.slice/nftables.service"), None, Some(ID));
        check(&format!("/docker/{ID}/nftables.service"), None, Some(ID));
        assert_eq!(place(b"0::/../nftables.service\n"), Place::default(), "outside the reader's namespace");
        assert_eq!(place(b"\xff\xfe::\n0:\n\n"), Place::default());
    }
}
