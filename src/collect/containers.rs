//! Which container or service a process belongs to, and what people call it.
//!
//! Role: a control group's path is what systemd and the container engines write about a process, and the process
//! cannot change it (cgroups(7)); an engine's own files on the host say which name its user gave. Nothing is read
//! from inside of a container: its host name and its files are its own to change. No engine is asked or started.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What runs a process in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A container that its engine numbers.
    Numbered(Engine, String),
    /// A container whose name is in the control group: LXC's or systemd-machined's.
    Named(&'static str, String),
    /// A unit of the system's service manager.
    Service(String),
}

/// An engine that numbers its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman and what else uses libpod.
    Podman,
    /// containerd or CRI-O, for Kubernetes.
    Cri,
}

/// The shortest container number that engines write.
const ID: usize = 12;

impl Owner {
    /// Reads `/proc/PID/cgroup`. The outermost owner counts: what runs inside a container can make groups below
    /// its own, and call them what it likes.
    pub fn of_cgroup(text: &str) -> Option<Self> {
        let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths.filter_map(Self::of_path).next()
    }

    fn of_path(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        (0..parts.len()).find_map(|place| Self::of_part(&parts[..=place]))
    }

    /// What the last part says, below the parts before it.
    fn of_part(parts: &[&str]) -> Option<Self> {
        let (last, above) = parts.split_last()?;
        let parent = above.last().copied().unwrap_or_default();
        let plain = last.strip_suffix(".scope").unwrap_or(last);
        let numbered = [
            ("docker-", Engine::Docker),
            ("libpod-", Engine::Podman),
            ("cri-containerd-", Engine::Cri),
            ("crio-", Engine::Cri),
        ];
        let found =
            numbered.into_iter().find_map(|(prefix, engine)| Some((engine, plain.strip_prefix(prefix)?)));
        let below = [("docker", Engine::Docker), ("libpod_parent", Engine::Podman)];
        let found =
            found.or_else(|| below.into_iter().find(|(name, _)| *name == parent).map(|(_, e)| (e, plain)));
        if let Some((engine, id)) = found.filter(|(_, id)| is_number(id)) {
            return Some(Self::Numbered(engine, id.to_owned()));
        }
        let lxc = last.strip_prefix("lxc.payload.");
        let lxc = lxc.or_else(|| Some(*last).filter(|_| ["lxc", "lxc.payload"].contains(&parent)));
        if let Some(name) = lxc.filter(|name| !name.is_empty()) {
            return Some(Self::Named("lxc", name.to_owned()));
        }
        if parent == "machine.slice" {
            let nspawn = last.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"));
            let machine = last.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope"));
            if let Some(name) = nspawn.or(machine) {
                return Some(Self::Named("machine", unescaped(name)));
            }
        }
        (above.first() == Some(&"system.slice") && last.ends_with(".service"))
            .then(|| Self::Service((*last).to_owned()))
    }
}

fn is_number(text: &str) -> bool {
    text.len() >= ID && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// systemd writes `-` in a name as `\x2d` (systemd-escape(1)).
fn unescaped(name: &str) -> String {
    name.replace("\\x2d", "-")
}

/// The names that users gave to numbered containers.
#[derive(Debug, Default)]
pub struct Names {
    podman: Option<BTreeMap<String, String>>,
}

impl Names {
    /// What an owner is called, as in `docker-web`, and whether it is still called so after it was started anew.
    pub fn of(&mut self, owner: &Owner) -> (String, bool) {
        match owner {
            Owner::Numbered(engine, id) => {
                let (kind, name) = match engine {
                    Engine::Docker => ("docker", docker_name(id)),
                    Engine::Podman => {
                        ("podman", self.podman.get_or_insert_with(podman_names).get(id).cloned())
                    }
                    // The name of a pod holds a random part.
                    Engine::Cri => ("cri", None),
                };
                match name {
                    Some(name) => (format!("{kind}-{name}"), true),
                    None => (format!("{kind}-{}", &id[..ID]), false),
                }
            }
            Owner::Named(kind, name) => (format!("{kind}-{name}"), true),
            // A service's children may make namespaces for a moment.
            Owner::Service(unit) => (unit.clone(), false),
        }
    }
}

/// From Docker's own record of a container, in its default data directory.
fn docker_name(id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Name")]
        name: String,
    }
    let path = Path::new("/var/lib/docker/containers").join(id).join("config.v2.json");
    let config: Config = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(config.name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty())
}

/// From the record that containers/storage keeps (containers-storage(5)), in its default directory.
fn podman_names() -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Container {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let path = "/var/lib/containers/storage/overlay-containers/containers.json";
    let bytes = std::fs::read(path).unwrap_or_default();
    let containers: Vec<Container> = serde_json::from_slice(&bytes).unwrap_or_default();
    containers.into_iter().filter_map(|found| Some((found.id, found.names.into_iter().next()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_owner_of_a_process_is_read_from_its_control_group() {
        let id = "7c5a659a1d2b4f0e9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f";
        let check = |path: &str, expect: Option<Owner>| {
            let path = path.replace("ID", id);
            assert_eq!(Owner::of_cgroup(&format!("3:cpu:/\n0::{path}\n")), expect, "{path}");
        };
        let numbered = |engine| Some(Owner::Numbered(engine, id.to_owned()));
        let named = |kind, name: &str| Some(Owner::Named(kind, name.to_owned()));
        check("/system.slice/docker-ID.scope", numbered(Engine::Docker));
        check("/docker/ID", numbered(Engine::Docker));
        check("/docker/ID/lxc.payload.web", numbered(Engine::Docker));
        check("/machine.slice/libpod-ID.scope/container", numbered(Engine::Podman));
        check("/machine.slice/libpod-conmon-ID.scope", None);
        check("/kubepods.slice/kubepods-besteffort.slice/cri-containerd-ID.scope", numbered(Engine::Cri));
        check("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", numbered(Engine::Cri));
        check("/lxc.payload.web/system.slice/nginx.service", named("lxc", "web"));
        check("/lxc/web", named("lxc", "web"));
        check("/machine.slice/machine-db\\x2d1.scope", named("machine", "db-1"));
        check("/machine.slice/systemd-nspawn@db.service/payload", named("machine", "db"));
        check("/system.slice/cups.service", Some(Owner::Service("cups.service".to_owned())));
        check("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", None);
        check("/", None);
    }
}
