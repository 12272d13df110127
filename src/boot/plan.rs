//! Which programs a boot would load which rule files with. Reads the configuration; runs nothing.

use super::root::Root;
use super::units::{Init, Unit};
use super::{Makes, Unseen, nft, others};
use std::collections::BTreeSet;
use std::path::Path;

/// One run of a tool that a boot would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The service behind it.
    pub unit: String,
    /// The rule file or directory, as a path of the host.
    pub file: String,
    /// What is run.
    pub run: Run,
}

/// What a step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// nft with these arguments; file names are paths of the host.
    Nft(Vec<String>),
    /// A program that takes the file on its standard input, with arguments.
    Restore {
        /// `iptables-restore`, `ip6tables-restore`, `ipset`.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// The file.
        content: Vec<u8>,
        /// Whether the service tries the file out first, and loads nothing where it is refused.
        tried_first: bool,
    },
    /// ufw's own script.
    Ufw,
}

impl Run {
    /// Sets come before rules that name them; what may flush all comes before the rest.
    fn rank(&self) -> u8 {
        match self {
            Self::Restore { program, .. } if program == "ipset" => 0,
            Self::Nft(_) => 1,
            Self::Restore { .. } => 2,
            Self::Ufw => 3,
        }
    }
}

/// What a boot would load.
#[derive(Debug, Default)]
pub struct Plan {
    /// In their order.
    pub steps: Vec<Step>,
    /// What is known not to be seen.
    pub unseen: Vec<Unseen>,
    /// The services that have a part in it: name, the link that enables it.
    pub units: Vec<(String, String)>,
}

/// The plan of all services that start at boot.
pub fn plan(root: &Root, units: &[Unit]) -> Plan {
    let mut plan = Plan::default();
    let mut planned: Vec<&Unit> = Vec::new();
    for unit in units {
        let mut part = Part { root, unit, steps: Vec::new(), unseen: Vec::new() };
        part.of_service();
        if !part.steps.is_empty() || !part.unseen.is_empty() {
            plan.units.push((unit.name.clone(), unit.enabled_by.clone()));
            planned.push(unit);
        }
        plan.steps.extend(part.steps);
        plan.unseen.extend(part.unseen);
    }
    plan.unseen.extend(others::hooks(root));
    let loading: BTreeSet<&str> = plan.steps.iter().map(|step| step.unit.as_str()).collect();
    planned.retain(|unit| loading.contains(unit.name.as_str()));
    plan.unseen.extend(races(root, &planned, &plan.steps));
    sort(&mut plan.steps, &planned);
    plan
}

/// By rank, and then as the units say.
fn sort(steps: &mut [Step], units: &[&Unit]) {
    steps.sort_by_key(|step| step.run.rank());
    let comes_after = |later: &Step, earlier: &Step| {
        let unit = |name: &str| units.iter().find(|unit| unit.name == name);
        match (unit(&later.unit), unit(&earlier.unit)) {
            (Some(later), Some(earlier)) => is_ordered(earlier, later),
            _ => false,
        }
    };
    // As often as a chain of orders can be long.
    for _ in 0..steps.len() {
        for place in 1..steps.len() {
            if comes_after(&steps[place - 1], &steps[place]) {
                steps.swap(place - 1, place);
            }
        }
    }
}

/// Whether one unit says of itself or the other that it comes first.
fn is_ordered(earlier: &Unit, later: &Unit) -> bool {
    later.after.contains(&format!("{}.service", earlier.name))
        || earlier.before.contains(&format!("{}.service", later.name))
}

/// A file that begins by flushing everything, loaded at the same time as others: who comes last wins, and
/// nobody knows who that is.
fn races(root: &Root, units: &[&Unit], steps: &[Step]) -> Vec<Unseen> {
    let flushes = |unit: &Unit| {
        steps.iter().filter(|step| step.unit == unit.name).any(|step| {
            matches!(step.run, Run::Nft(_))
                && nft::contents(root, &step.file).iter().any(|text| flushes_all(text))
        })
    };
    let mut found = Vec::new();
    for flushing in units.iter().filter(|unit| unit.init == Init::Systemd && flushes(unit)) {
        for other in units.iter().filter(|other| other.name != flushing.name) {
            if !is_ordered(flushing, other) && !is_ordered(other, flushing) {
                found.push(Unseen {
                    source: format!("boot: {}", flushing.name),
                    reason: format!(
                        "its file flushes the ruleset, and nothing orders it before or after {}: which of \
                         the two is left after a boot is chance",
                        other.name
                    ),
                    hint: Some(format!(
                        "disable one of the two, or give {} a drop-in with After={}.service",
                        other.name, flushing.name
                    )),
                    blinds: true,
                    makes: Makes::Nothing,
                });
            }
        }
    }
    found
}

fn flushes_all(content: &[u8]) -> bool {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.into_iter().any(|line| line.starts_with(b"flush ruleset"))
}

/// One service's part.
struct Part<'a> {
    root: &'a Root,
    unit: &'a Unit,
    steps: Vec<Step>,
    unseen: Vec<Unseen>,
}

impl Part<'_> {
    fn of_service(&mut self) {
        match self.unit.name.as_str() {
            "netfilter-persistent" | "iptables-persistent" => self.netfilter_persistent(),
            "ufw" => self.ufw(),
            "ipset" | "ipset-service" if !self.has_tool(&["ipset"]) => self.ipset(),
            "iptables" | "ip6tables" if !self.has_tool(&["iptables-restore", "ip6tables-restore"]) => {
                self.iptables_service();
            }
            "nftables" if self.unit.init != Init::Systemd => self.nftables_script(),
            name => match others::known(name) {
                Some(unseen) => self.unseen.push(unseen),
                None => self.commands(),
            },
        }
    }

    fn step(&mut self, file: &str, run: Run) {
        self.steps.push(Step { unit: self.unit.name.clone(), file: file.to_owned(), run });
    }

    fn gap(&mut self, reason: String, hint: Option<&str>, blinds: bool, makes: Makes) {
        let (source, hint) = (format!("boot: {}", self.unit.name), hint.map(str::to_owned));
        self.unseen.push(Unseen { source, reason, hint, blinds, makes });
    }

    /// Whether the unit runs one of these itself.
    fn has_tool(&self, names: &[&str]) -> bool {
        self.unit.commands.iter().any(|command| names.contains(&program(command)))
    }

    /// The file for a program's standard input. A missing one is said.
    fn restore(&mut self, file: &str, program: &str, args: &[&str], tried_first: bool) {
        match self.root.read(file) {
            Ok(Some(content)) => {
                let args = args.iter().map(|arg| (*arg).to_owned()).collect();
                let program = program.to_owned();
                self.step(file, Run::Restore { program, args, content, tried_first });
            }
            Ok(None) => {
                let reason = format!("{file} does not exist: nothing of it is loaded at boot");
                self.gap(reason, None, false, Makes::Nothing);
            }
            Err(error) => {
                let reason = format!("cannot read {file}: {error}");
                self.gap(reason, Some("run as root"), true, Makes::Iptables);
            }
        }
    }

    /// `run-parts` runs its plugins in the order of their names (netfilter-persistent(8)).
    fn netfilter_persistent(&mut self) {
        const PLUGINS: &str = "/usr/share/netfilter-persistent/plugins.d";
        const CONFIG: &str = "/etc/default/netfilter-persistent";
        let is_set = |name: &str| self.root.variable(CONFIG, name).as_deref() == Some("yes");
        let flags = |family: &str| {
            let no_flush = is_set(&format!("{family}_RESTORE_NOFLUSH"));
            (if no_flush { vec!["--noflush"] } else { vec![] }, is_set(&format!("{family}_TEST_RULESET")))
        };
        let ((args4, tried4), (args6, tried6)) = (flags("IPTABLES"), flags("IP6TABLES"));
        let plugins = self.root.names(PLUGINS);
        for plugin in &plugins {
            match plugin.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-') {
                "ip4tables" => self.restore("/etc/iptables/rules.v4", "iptables-restore", &args4, tried4),
                "ip6tables" => self.restore("/etc/iptables/rules.v6", "ip6tables-restore", &args6, tried6),
                "ipset" if plugin.starts_with("40") => {}
                "ipset" => self.restore("/etc/iptables/ipsets", "ipset", &["restore", "-exist"], false),
                _ => {
                    let reason = format!("its plugin {PLUGINS}/{plugin} is not known: it is not run here");
                    self.gap(reason, None, true, Makes::Iptables);
                }
            }
        }
        if plugins.is_empty() {
            let reason = format!("it has no plugins in {PLUGINS}: it loads nothing at boot");
            self.gap(reason, Some("install iptables-persistent, or disable it"), false, Makes::Nothing);
        }
    }

    /// Fedora's and Red Hat's iptables-services; Alpine's and Gentoo's scripts.
    fn iptables_service(&mut self) {
        let name = self.unit.name.clone();
        let (arg, saved) = match name.as_str() {
            "ip6tables" => ("IP6TABLES_SAVE", ["/etc/iptables/rules6-save", "/var/lib/ip6tables/rules-save"]),
            _ => ("IPTABLES_SAVE", ["/etc/iptables/rules-save", "/var/lib/iptables/rules-save"]),
        };
        let red_hat = format!("/etc/sysconfig/{name}");
        let configured = self.root.variable(&format!("/etc/conf.d/{name}"), arg);
        let candidates = configured.iter().map(String::as_str).chain([red_hat.as_str()]).chain(saved);
        let file = candidates.clone().find(|file| self.root.has(file)).unwrap_or(&red_hat).to_owned();
        self.restore(&file, &format!("{name}-restore"), &[], false);
    }

    fn ipset(&mut self) {
        let configured = self.root.variable("/etc/conf.d/ipset", "IPSET_SAVE");
        let usual = ["/etc/sysconfig/ipset", "/etc/ipset.conf", "/etc/ipset/ipset.conf"];
        let candidates = configured.iter().map(String::as_str).chain(usual);
        let file = candidates.clone().find(|file| self.root.has(file)).unwrap_or(usual[0]).to_owned();
        self.restore(&file, "ipset", &["restore", "-exist"], false);
    }

    fn ufw(&mut self) {
        let enabled = self.root.variable("/etc/ufw/ufw.conf", "ENABLED").unwrap_or_default();
        if enabled.eq_ignore_ascii_case("yes") {
            self.step("/etc/ufw", Run::Ufw);
        }
    }

    /// OpenRC's script: Alpine's file, Gentoo's.
    fn nftables_script(&mut self) {
        let configured = ["rules_file", "NFTABLES_SAVE"]
            .iter()
            .find_map(|name| self.root.variable("/etc/conf.d/nftables", name));
        let usual = ["/etc/nftables.nft", "/var/lib/nftables/rules-save", "/etc/nftables.conf"];
        let candidates = configured.iter().map(String::as_str).chain(usual);
        let file = candidates.clone().find(|file| self.root.has(file)).unwrap_or(usual[0]).to_owned();
        self.step(&file, Run::Nft(vec!["-f".to_owned(), file.clone()]));
    }

    /// A unit that runs the tools itself.
    fn commands(&mut self) {
        for command in &self.unit.commands {
            let Some(args) = command.get(1..) else { continue };
            let program = program(command);
            let has_variable = args.iter().any(|arg| arg.contains(['$', '%']));
            match program {
                "nft" | "iptables-restore" | "ip6tables-restore" | "ipset" if has_variable => {
                    self.not_followed(command);
                }
                "nft" => self.nft(args),
                "iptables-restore" | "ip6tables-restore" => match args.split_last() {
                    Some((file, options)) if file.starts_with('/') => {
                        let options: Vec<&str> = options.iter().map(String::as_str).collect();
                        self.restore(file, program, &options, false);
                    }
                    _ => self.not_followed(command),
                },
                "ipset" => self.ipset_command(command),
                "iptables" | "ip6tables" | "iptables-nft" | "iptables-legacy" | "ebtables" | "arptables" => {
                    self.not_followed(command);
                }
                "sh" | "bash" | "dash" if args.iter().any(|arg| others::runs_a_tool(arg)) => {
                    self.not_followed(command);
                }
                _ => self.script(program, command),
            }
        }
    }

    fn nft(&mut self, args: &[String]) {
        let file = args.iter().zip(args.iter().skip(1)).find(|(flag, _)| is_file_flag(flag));
        let joined = || args.iter().find_map(|arg| arg.strip_prefix("--file=")).map(str::to_owned);
        let file = file.map(|(_, file)| file.clone()).or_else(joined);
        let file = file.unwrap_or_else(|| args.join(" "));
        self.step(&file, Run::Nft(args.to_vec()));
    }

    /// `ipset -f FILE restore`, `ipset restore -f FILE`, in any order.
    fn ipset_command(&mut self, command: &[String]) {
        let args = &command[1..];
        let flag = args.iter().position(|arg| arg == "-f" || arg == "-file" || arg == "--file");
        let is_restore = args.iter().any(|arg| arg.trim_start_matches('-') == "restore");
        match flag.and_then(|place| args.get(place + 1)) {
            Some(file) if is_restore => self.restore(&file.clone(), "ipset", &["restore", "-exist"], false),
            _ if is_restore => self.not_followed(command),
            _ => {}
        }
    }

    /// A script that calls the tools, as far as a look into it tells.
    fn script(&mut self, program: &str, command: &[String]) {
        let Some(path) = command.first().filter(|path| path.starts_with('/')) else { return };
        let is_script = self.root.at(path).metadata().is_ok_and(|meta| meta.len() < 1024 * 1024);
        let text = if is_script { self.root.text(path) } else { String::new() };
        if text.starts_with("#!") && others::runs_a_tool(&text) && others::may_make_rules(program) {
            // Naming a tool is not running it: this alone makes nothing unknown.
            let reason = format!("it starts {path}, a script that names the tools and may load rules");
            self.gap(reason, Some(others::FOLLOWED), false, Makes::Nothing);
        }
    }

    /// A command that certainly runs a tool: what it makes may be anything.
    fn not_followed(&mut self, command: &[String]) {
        let reason = format!("it starts `{}`, which fwdrift cannot repeat", command.join(" "));
        self.gap(reason, Some(others::FOLLOWED), true, Makes::Everything);
    }
}

fn program(command: &[String]) -> &str {
    let path = command.first().map(String::as_str).unwrap_or_default();
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether an option of nft takes a file.
pub fn is_file_flag(flag: &str) -> bool {
    flag == "--file" || (flag.starts_with('-') && !flag.starts_with("--") && flag.ends_with('f'))
}
