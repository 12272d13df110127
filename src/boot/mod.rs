//! Edge: what this host would load at its next boot.
//!
//! Input: a root directory and the host's interfaces; output: a [`Boot`], the state that its enabled services
//! would make, loaded with their own tools into a scratch namespace. The live state, kernel settings and
//! modules are not touched. What cannot be repeated like that is named, with the tables that it may make.

mod nft;
mod others;
mod plan;
mod root;
mod ufw;
mod units;

use crate::baseline;
use crate::collect::{self, CollectError};
use crate::decode::{self, DecodeError};
use crate::model::{Backend, Capture, Family, Files, Gap, Provider, Ruleset, TableKey};
use crate::normalise::{NormaliseError, normalise};
use crate::sys::netns::NetnsError;
use crate::tool::{Tool, ToolError};
use plan::{Plan, Run, Step};
use root::Root;
use std::collections::BTreeMap;
use std::path::Path;

/// What a boot would load.
#[derive(Debug)]
pub struct Boot {
    /// The state.
    pub ruleset: Ruleset,
    /// The services behind it.
    pub providers: Vec<Provider>,
    /// What could not be repeated.
    pub gaps: Vec<Gap>,
    /// Tables that it may have, which cannot be seen.
    pub unknown: Unknown,
}

/// The tables that something may make which cannot be repeated in a scratch namespace.
#[derive(Clone, Debug, Default)]
pub struct Unknown(Vec<Makes>);

/// Something of a boot that cannot be repeated in a scratch namespace.
#[derive(Clone, Debug)]
struct Unseen {
    source: String,
    reason: String,
    hint: Option<String>,
    blinds: bool,
    makes: Makes,
}

/// The tables that something unseen may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Makes {
    /// None.
    Nothing,
    /// Those that the iptables commands know.
    Iptables,
    /// Those of these names; those that the iptables commands know, in their families only.
    Tables(&'static [&'static str]),
    /// Those of a family.
    Family(Family),
    /// Any.
    Everything,
}

/// The tables of the iptables commands.
const IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

impl Makes {
    fn may_make(self, key: &TableKey) -> bool {
        let is_one_of = |names: &[&str]| names.iter().any(|name| name.as_bytes() == key.name.0);
        let is_ip = matches!(key.family, Family::Ip | Family::Ip6);
        match self {
            Self::Nothing => false,
            Self::Iptables => is_ip && is_one_of(&IPTABLES),
            Self::Tables(names) => is_one_of(names) && (is_ip || !is_one_of(&IPTABLES)),
            Self::Family(family) => key.family == family,
            Self::Everything => true,
        }
    }
}

/// Why nothing can be said about the next boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The root is no directory.
    #[error("{0} is no directory")]
    NoRoot(String),
    /// The scratch namespace.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Entering it.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Reading it.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// Understanding it.
    #[error(transparent)]
    Normalise(#[from] NormaliseError),
}

impl BootError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRoot(_) => Some("name the directory that the host boots from".to_owned()),
            Self::Decode(error) => error.hint(),
            Self::Netns(error) => error.hint(),
            Self::Collect(error) => error.hint(),
            Self::Normalise(_) => None,
        }
    }
}

impl Unknown {
    /// A table that something unseen may make, and that `own` lacks, is taken from the other side: "could not
    /// look" is never "empty".
    pub fn stand_in(&self, own: &mut Ruleset, other: &Ruleset) {
        for (key, table) in &other.tables {
            if self.0.iter().any(|makes| makes.may_make(key)) && !own.tables.contains_key(key) {
                own.tables.insert(key.clone(), table.clone());
            }
        }
    }
}

/// What the host with this root would load, with these interfaces (index to name).
///
/// # Errors
/// [`BootError`]. What a tool refuses, or cannot be run, is a gap.
pub fn look(root: &Path, interfaces: &BTreeMap<u32, Vec<u8>>) -> Result<Boot, BootError> {
    if !root.is_dir() {
        return Err(BootError::NoRoot(root.to_string_lossy().into_owned()));
    }
    let root = Root::new(root);
    let plan = plan::plan(&root, &units::enabled(&root));
    let netns = decode::scratch(&baseline::devices(&named_files(&root, &plan), interfaces))?;
    let refused = netns.run(|| plan.steps.iter().filter_map(|step| load(&root, step)).collect::<Vec<_>>())?;
    let (mut capture, mut gaps) = collect::capture(&netns, None)?;
    for gap in &mut gaps {
        gap.reason = format!("of the boot state: {}", gap.reason);
    }
    capture.interfaces.extend(interfaces.clone());
    let unseen: Vec<Unseen> = plan.unseen.iter().cloned().chain(refused).collect();
    let unknown = Unknown(unseen.iter().map(|unseen| unseen.makes).collect());
    gaps.extend(unseen.into_iter().map(|unseen| Gap {
        source: unseen.source,
        reason: unseen.reason,
        hint: unseen.hint,
        blinds_verdict: unseen.blinds,
    }));
    Ok(Boot { ruleset: without_context(capture)?, providers: providers(&plan), gaps, unknown })
}

/// Kernel settings and BPF programs are not part of a boot's rule files.
fn without_context(capture: Capture) -> Result<Ruleset, NormaliseError> {
    let mut ruleset = normalise(&capture)?;
    for backend in [Backend::Sysctl, Backend::Bpf] {
        ruleset.tables.remove(&TableKey::of_all(backend));
    }
    Ok(ruleset)
}

fn providers(plan: &Plan) -> Vec<Provider> {
    let files = |name: &str| {
        plan.steps.iter().filter(|step| step.unit == name).map(|step| step.file.clone()).collect()
    };
    let provider = |(name, enabled_by): &(String, String)| Provider {
        name: name.clone(),
        enabled_by: enabled_by.clone(),
        files: files(name),
    };
    plan.units.iter().map(provider).collect()
}

/// The files' contents, in the layout in which interface names are looked for.
fn named_files(root: &Root, plan: &Plan) -> Files {
    let mut files = Files::new();
    for step in &plan.steps {
        let (ending, contents) = match &step.run {
            Run::Nft(_) => ("nft", nft::contents(root, &step.file)),
            Run::Restore { content, .. } => ("rules", vec![content.clone()]),
            Run::Ufw => ("rules", ufw::contents(root)),
        };
        for content in contents {
            files.insert(format!("nft/{}.{ending}", files.len()), content);
        }
    }
    files
}

/// Runs a step in the scratch namespace; what went wrong.
fn load(root: &Root, step: &Step) -> Option<Unseen> {
    let failed = |reason: String, hint: Option<String>, makes| {
        let source = format!("boot: {}", step.unit);
        Some(Unseen { source, reason, hint, blinds: true, makes })
    };
    let result = match &step.run {
        Run::Nft(args) => nft(root, args),
        Run::Restore { program, args, content, tried_first } => restore(program, args, content, *tried_first),
        Run::Ufw => match ufw::load(root) {
            Ok(()) => return None,
            Err(error) => {
                let hint = "compare by hand: `ufw show added` against `fwdrift diff baseline live`";
                return failed(error.to_string(), Some(hint.to_owned()), Makes::Iptables);
            }
        },
    };
    match result {
        Ok(()) => None,
        // At boot it would be refused, too: nothing stands in for it.
        Err(ToolError::Failed { stderr, .. }) => {
            let reason = format!("{} is refused, and would be at boot:\n{stderr}", step.file);
            failed(reason, Some("mend the file before the next boot".to_owned()), Makes::Nothing)
        }
        Err(error) => {
            failed(format!("{} cannot be loaded: {error}", step.file), error.hint(), Makes::Everything)
        }
    }
}

fn nft(root: &Root, args: &[String]) -> Result<(), ToolError> {
    let tool = Tool::find("nft")?.scratch();
    let broken = |source| ToolError::Run { command: format!("nft {}", args.join(" ")), source };
    let copy = tempfile::Builder::new().prefix("fwdrift-").tempdir().map_err(broken)?;
    let args = nft::arguments(root, args, copy.path()).map_err(broken)?;
    let scratch = copy.path().to_string_lossy().into_owned();
    match tool.args(args).run() {
        Ok(_) => Ok(()),
        Err(ToolError::Failed { command, status, stderr }) => {
            Err(ToolError::Failed { command, status, stderr: stderr.replace(&scratch, "") })
        }
        Err(error) => Err(error),
    }
}

fn restore(program: &str, args: &[String], content: &[u8], tried_first: bool) -> Result<(), ToolError> {
    let broken = |source| ToolError::Run { command: program.to_owned(), source };
    let scratch = tempfile::Builder::new().prefix("fwdrift-").tempdir().map_err(broken)?;
    // A scratch namespace needs no lock against the host's iptables.
    let lock = scratch.path().join("xtables.lock").to_string_lossy().into_owned();
    let tool = || Ok(Tool::find(program)?.scratch().env("XTABLES_LOCKFILE", &lock).input(content.to_vec()));
    if tried_first {
        tool()?.args(args.iter().cloned().chain(["--test".to_owned()])).run()?;
    }
    tool()?.args(args.iter().cloned()).run()?;
    Ok(())
}
