//! `fwdrift record` with no more rights than systemd/fwdrift-record.service leaves it: its capabilities, no new
//! privileges, a read-only file system but for the state directory, no home directories, foreign processes hidden.
//! Needs root. (The unit's SystemCallFilter can only be tried under systemd.)

use std::process::{Command, Output, Stdio};

const UNIT: &str = include_str!("../systemd/fwdrift-record.service");

/// In: a state directory, the capabilities for setpriv(1), a command. Runs it as the unit would.
const SANDBOX: &str = r#"
set -e
state=$1 capabilities=$2; shift 2
mount --make-rprivate /
mount --bind "$state" "$state"
mount --bind "$state/home" /root
mount -t proc -o hidepid=invisible proc /proc
awk '{print $5}' /proc/self/mountinfo | while read -r place; do
    case $place in "$state" | /dev | /dev/* | /proc) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || : ;; esac
done
mount -t tmpfs tmpfs /tmp
! touch /fwdrift-can-write 2>/dev/null
exec setpriv --no-new-privs --inh-caps=-all --bounding-set="$capabilities" "$@"
"#;

/// `CapabilityBoundingSet=CAP_NET_ADMIN …` as setpriv(1) takes it.
fn capabilities() -> String {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let names = line.split_whitespace().map(|name| format!(",+{}", name[4..].to_lowercase()));
    format!("-all{}", names.collect::<String>())
}

fn sh(script: &str, args: &[&str]) -> Output {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).args(args).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
}

#[test]
fn record_works_inside_the_units_sandbox() {
    let state = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::create_dir(state.path().join("home")).unwrap();
    // Of its own, as /tmp and the home directories are hidden in the sandbox.
    let fwdrift = state.path().join("fwdrift");
    std::fs::copy(env!("CARGO_BIN_EXE_fwdrift"), &fwdrift).unwrap();
    let fwdrift = fwdrift.to_str().unwrap();
    let story = format!(
        r#"
set -e
nft -f "$1"
iptables-nft -A INPUT -p tcp --dport 99 -j DROP
iptables-legacy -A INPUT -p tcp --dport 98 -j DROP
chmod 000 "$2/home"
fwdrift() {{ "{fwdrift}" --repo "$2/repo" --host db-01 "$1"; }}
fwdrift init "$2"
nft insert rule inet filter input tcp dport 3306 drop
iptables-nft -A INPUT -p tcp --dport 97 -j DROP
iptables-legacy -A INPUT -p tcp --dport 96 -j DROP
rm -rf "$2/repo/.git/fwdrift/cache"
exec unshare --mount /bin/sh -c "$3" sh "$2" "$4" "{fwdrift}" --repo "$2/repo" --host db-01 record
"#
    );
    let ruleset = concat!(env!("CARGO_MANIFEST_DIR"), "/baselines/database-server/nft/inet-filter.nft");
    let args = [ruleset, state.path().to_str().unwrap(), SANDBOX, &capabilities()];
    let output = sh("exec unshare --net /bin/sh -c \"$@\"", &[&[story.as_str(), "sh"], &args[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "3 changes",
        "+ tcp dport 3306 drop",
        "--dport 97",
        "--dport 96",
        "event 2, 3 differences are open now",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}
