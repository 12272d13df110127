//! ufw's rules, made by ufw's own `ufw-init` from a private copy of its configuration.
//!
//! The script is a shell script that reads its configuration as shell. So the copy holds only plain
//! assignments of what it knows, without kernel settings and modules, and the script runs as a user that owns
//! nothing, with no capability but those on the scratch namespace: it cannot write a file, load a module or
//! change a setting of the host, whatever is in it.

use super::root::Root;
use crate::attribute::SCRATCH_UID;
use crate::tool::{Tool, ToolError, locate};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Where ufw keeps its scripts.
const SCRIPTS: [&str; 3] = ["/lib/ufw", "/usr/lib/ufw", "/usr/libexec/ufw"];
/// What the script takes from its configuration; `IPT_SYSCTL` and `IPT_MODULES` are not among it.
const VARIABLES: [&str; 6] = [
    "IPV6",
    "DEFAULT_INPUT_POLICY",
    "DEFAULT_OUTPUT_POLICY",
    "DEFAULT_FORWARD_POLICY",
    "DEFAULT_APPLICATION_POLICY",
    "MANAGE_BUILTINS",
];
const RULES: [&str; 6] =
    ["before.rules", "before6.rules", "after.rules", "after6.rules", "user.rules", "user6.rules"];

/// Why ufw's rules cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UfwError {
    /// There is no script to run.
    #[error("its script ufw-init was not found")]
    NoScript,
    /// The script may have been written by anybody.
    #[error("{0} can be written by others than root: it is not run")]
    Writable(String),
    /// A hook that runs commands.
    #[error("/etc/ufw/{0} is executable: what it does at boot is not repeated here")]
    Hook(&'static str),
    /// A configuration that does more than assign values.
    #[error("{path}: line {line} is no plain assignment: it is not run")]
    NotPlain {
        /// The file.
        path: &'static str,
        /// From 1.
        line: usize,
    },
    /// The copy.
    #[error("cannot copy its configuration: {0}")]
    Copy(#[from] io::Error),
    /// The script failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// The rule files, for the names in them.
pub fn contents(root: &Root) -> Vec<Vec<u8>> {
    RULES.iter().filter_map(|name| root.read(&format!("/etc/ufw/{name}")).ok().flatten()).collect()
}

/// Loads the rules in the calling thread's namespace, which must be a scratch one.
///
/// # Errors
/// [`UfwError`]; then nothing or a part of the rules is loaded.
pub fn load(root: &Root) -> Result<(), UfwError> {
    for hook in ["before.init", "after.init"] {
        let mode = std::fs::metadata(root.at(&format!("/etc/ufw/{hook}"))).map(|meta| meta.mode());
        if mode.is_ok_and(|mode| mode & 0o111 != 0) {
            return Err(UfwError::Hook(hook));
        }
    }
    let directory = tempfile::Builder::new().prefix("fwdrift-").tempdir()?;
    copy(root, directory.path())?;
    let copy = directory.path().to_string_lossy().into_owned();
    let user = SCRATCH_UID.to_string();
    let rights = "-all,+net_admin,+net_raw";
    let confined = ["--reuid", &user, "--regid", &user, "--clear-groups", "--no-new-privs"];
    let rights = ["--inh-caps", rights, "--ambient-caps", rights, "--bounding-set", rights, "--"];
    let shell = locate("sh").ok_or(UfwError::NoScript)?;
    let script = format!("{copy}/lib/ufw/ufw-init");
    let command =
        [shell.to_string_lossy().as_ref(), &script, "--rootdir", &copy, "--datadir", &copy, "start"]
            .map(str::to_owned);
    let lock = format!("{copy}/xtables.lock");
    let tool = Tool::find("setpriv")?.scratch().env("XTABLES_LOCKFILE", &lock);
    tool.args(confined).args(rights).args(command).run()?;
    Ok(())
}

/// Writes the copy and gives it to the user that the script runs as.
fn copy(root: &Root, to: &Path) -> Result<(), UfwError> {
    let scripts = SCRIPTS.iter().find(|place| root.has(&format!("{place}/ufw-init")));
    let scripts = scripts.ok_or(UfwError::NoScript)?;
    for directory in ["etc/ufw", "etc/default", "lib/ufw"] {
        std::fs::create_dir_all(to.join(directory))?;
    }
    for name in ["ufw-init", "ufw-init-functions"] {
        let path = format!("{scripts}/{name}");
        let metadata = std::fs::metadata(root.at(&path))?;
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err(UfwError::Writable(path));
        }
        std::fs::copy(root.at(&path), to.join("lib/ufw").join(name))?;
    }
    for name in RULES {
        if let Some(content) = root.read(&format!("/etc/ufw/{name}"))? {
            std::fs::write(to.join("etc/ufw").join(name), content)?;
        }
    }
    let defaults = plain(root, "/etc/default/ufw", &VARIABLES)?;
    std::fs::write(to.join("etc/default/ufw"), format!("{defaults}IPT_SYSCTL=\nIPT_MODULES=\n"))?;
    std::fs::write(to.join("etc/ufw/ufw.conf"), plain(root, "/etc/ufw/ufw.conf", &["ENABLED"])?)?;
    hand_over(to)?;
    Ok(())
}

/// The known assignments of a file, quoted. What is no assignment may be anything.
fn plain(root: &Root, path: &'static str, known: &[&str]) -> Result<String, UfwError> {
    let mut out = String::new();
    for (number, line) in root.text(path).lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let not_plain = || UfwError::NotPlain { path, line: number + 1 };
        let (name, value) = line.split_once('=').ok_or_else(not_plain)?;
        let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || " ._/-".contains(c));
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || !is_plain(value) {
            return Err(not_plain());
        }
        if known.contains(&name) {
            out.push_str(&format!("{name}='{value}'\n"));
        }
    }
    Ok(out)
}

fn hand_over(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            hand_over(&entry?.path())?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    } else {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400))?;
    }
    chown(path, Some(SCRATCH_UID), Some(SCRATCH_UID))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str) -> Result<String, UfwError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("etc/default")).unwrap();
        std::fs::write(directory.path().join("etc/default/ufw"), content).unwrap();
        plain(&Root::new(directory.path()), "/etc/default/ufw", &VARIABLES)
    }

    #[test]
    fn of_the_configuration_only_known_plain_assignments_are_taken() {
        let text = "# a comment\nIPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nIPT_SYSCTL=/etc/ufw/sysctl.conf\n";
        assert_eq!(check(text).unwrap(), "IPV6='yes'\nDEFAULT_INPUT_POLICY='DROP'\n");
    }

    #[test]
    fn a_configuration_with_commands_is_refused() {
        for text in ["touch /tmp/x\n", "IPV6=$(id)\n", "IPV6=`id`\n", "IPV6=yes; id\n", "a b=c\n"] {
            assert!(matches!(check(text), Err(UfwError::NotPlain { line: 1, .. })), "{text:?}");
        }
    }
}
