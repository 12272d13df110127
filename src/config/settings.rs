//! Flags, file and defaults, resolved.

use super::args::{ColorChoice, Format, GlobalArgs};
use super::error::ConfigError;
use super::file::ConfigFile;
use super::values::NetnsRef;
use crate::model::HostName;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is looked for without `--config`.
pub const DEFAULT_CONFIG: &str = "/etc/fwdrift/config.toml";

const DEFAULT_REPO: &str = "/var/lib/fwdrift/repo";
/// Where auditd writes by default (auditd.conf(5)).
pub const DEFAULT_AUDIT_LOG: &str = "/var/log/audit";
/// A full look is made at least daily, whatever the generation says.
const DEFAULT_FULL_LOOK: Duration = Duration::from_secs(24 * 3600);
/// How often `watch` looks at what announces nothing.
const DEFAULT_POLL: Duration = Duration::from_secs(10);
const DEFAULT_TOOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How much is said besides the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: the result only where there is something to tell.
    Quiet,
    /// Results, warnings and errors.
    #[default]
    Normal,
    /// `-v`: what is being done.
    Verbose,
    /// `-vv`: every detail.
    Trace,
}

/// Everything that flags and configuration decide, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The configuration file that was read; none if the defaults hold.
    pub config: Option<PathBuf>,
    /// The git repository of baselines and ledger; absolute.
    pub repo: PathBuf,
    /// This host's name in the repository, with that of the namespace: `HOST@NAME` if it has one.
    pub host: HostName,
    /// The network namespace to look at; none for the one fwdrift was started in.
    pub netns: Option<NetnsRef>,
    /// Whether all namespaces are meant.
    pub all_netns: bool,
    /// The audit log: a file, or the directory of `audit.log` and its rotated predecessors; absolute.
    pub audit_log: PathBuf,
    /// How long one run of one tool may take.
    pub tool_timeout: Duration,
    /// How long an unchanged generation may stand for a full look.
    pub full_look_every: Duration,
    /// How often `watch` looks at what announces no change.
    pub poll_every: Duration,
    /// The form of the result.
    pub format: Format,
    /// When colours are used.
    pub color: ColorChoice,
    /// How much is said.
    pub verbosity: Verbosity,
}

impl Settings {
    /// Resolves flags against [`DEFAULT_CONFIG`] (or `--config`) and this machine's hostname.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that is asked for and missing, unreadable or wrong; a value that cannot
    /// be used; a hostname that cannot be used where no other name is given.
    pub fn resolve(args: &GlobalArgs) -> Result<Self, ConfigError> {
        Self::resolve_with(args, Path::new(DEFAULT_CONFIG), || {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        })
    }

    fn resolve_with(
        args: &GlobalArgs,
        default_config: &Path,
        hostname: impl FnOnce() -> String,
    ) -> Result<Self, ConfigError> {
        let (config, file) = read_config(args.config.as_deref(), default_config)?;
        let host = match (&args.host, file.host) {
            (Some(given), _) => HostName::parse(given)
                .map_err(|reason| ConfigError::HostFlag { given: given.clone(), reason })?,
            (None, Some(name)) => name,
            (None, None) => {
                let given = hostname();
                HostName::parse(&given).map_err(|reason| ConfigError::Hostname { given, reason })?
            }
        };
        let netns = match &args.netns {
            Some(given) => Some(NetnsRef::parse(given).map_err(|reason| ConfigError::NetnsFlag {
                given: given.to_string_lossy().into_owned(),
                reason,
            })?),
            None => file.netns.filter(|_| !args.all_netns),
        };
        let (host, netns) = of_one_name(host, netns, args)?;
        let repo = match &args.repo {
            Some(path) => absolute(path)?,
            None => file.repo.unwrap_or_else(|| PathBuf::from(DEFAULT_REPO)),
        };
        Ok(Self {
            config,
            repo,
            host,
            netns,
            all_netns: args.all_netns,
            audit_log: file.audit_log.unwrap_or_else(|| PathBuf::from(DEFAULT_AUDIT_LOG)),
            tool_timeout: file.tool_timeout.unwrap_or(DEFAULT_TOOL_TIMEOUT),
            full_look_every: file.full_look.unwrap_or(DEFAULT_FULL_LOOK),
            poll_every: file.poll.unwrap_or(DEFAULT_POLL),
            format: args.format,
            color: args.color,
            verbosity: match (args.quiet, args.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, 0) => Verbosity::Normal,
                (false, 1) => Verbosity::Verbose,
                (false, _) => Verbosity::Trace,
            },
        })
    }

    /// These settings; if `full`, an unchanged generation stands for nothing.
    pub fn looking_in_full(&self, full: bool) -> Self {
        let full_look_every = if full { Duration::ZERO } else { self.full_look_every };
        Self { full_look_every, ..self.clone() }
    }

    /// Refuses `--all-netns`; to be asked before any work is done.
    ///
    /// # Errors
    /// [`ConfigError::OneNetns`].
    pub fn require_one_netns(&self, command: &'static str) -> Result<(), ConfigError> {
        if self.all_netns { Err(ConfigError::OneNetns { command }) } else { Ok(()) }
    }

    /// Refuses a form of output that `command` does not have; to be asked before any work is done.
    ///
    /// # Errors
    /// [`ConfigError::FormatNotOffered`].
    pub fn require_format(&self, command: &'static str, offered: &[Format]) -> Result<Format, ConfigError> {
        if offered.contains(&self.format) {
            Ok(self.format)
        } else {
            Err(ConfigError::FormatNotOffered { command, format: self.format.as_str() })
        }
    }
}

/// A namespace with a name has a name in the repository, too; either names the other. `--host HOST@NAME` with another
/// `--netns` is the name for what is looked at.
fn of_one_name(
    host: HostName,
    netns: Option<NetnsRef>,
    args: &GlobalArgs,
) -> Result<(HostName, Option<NetnsRef>), ConfigError> {
    if args.all_netns {
        return match host.netns() {
            Some(_) => Err(ConfigError::HostOfOne { host: host.to_string() }),
            None => Ok((host, None)),
        };
    }
    if let Some(name) =
        host.netns().filter(|_| netns.is_none() || (args.host.is_some() && args.netns.is_none()))
    {
        let wrong = |reason| ConfigError::NetnsFlag { given: name.to_owned(), reason };
        let found = NetnsRef::parse(Path::new(name)).map_err(wrong)?;
        return Ok((host, Some(found)));
    }
    let is_named = host.netns().is_some() && args.host.is_some();
    let host = match netns.as_ref().filter(|_| !is_named) {
        Some(found) => {
            found.host(&host).map_err(|reason| ConfigError::NetnsFlag { given: found.given(), reason })?
        }
        None => host,
    };
    Ok((host, netns))
}

fn read_config(asked: Option<&Path>, default: &Path) -> Result<(Option<PathBuf>, ConfigFile), ConfigError> {
    let path = asked.unwrap_or(default);
    match (ConfigFile::read(path)?, asked) {
        (Some(file), _) => Ok((Some(path.to_owned()), file)),
        (None, None) => Ok((None, ConfigFile::default())),
        (None, Some(asked)) => Err(ConfigError::Missing { path: asked.to_owned() }),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path)
        .map_err(|source| ConfigError::WorkingDirectory { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::fs;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        global: GlobalArgs,
    }

    fn settings(flags: &[&str], file: Option<&str>) -> Result<Settings, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        if let Some(text) = file {
            fs::write(&config, text).unwrap();
        }
        let program = Program::try_parse_from(std::iter::once(&"fwdrift").chain(flags)).unwrap();
        Settings::resolve_with(&program.global, &config, || "from-uname".to_owned())
    }

    #[test]
    fn without_flags_and_file_the_defaults_hold() {
        let settings = settings(&[], None).unwrap();
        assert_eq!(settings.config, None);
        assert_eq!(settings.repo, Path::new("/var/lib/fwdrift/repo"));
        assert_eq!(settings.host.as_str(), "from-uname");
        assert_eq!(settings.netns, None);
        assert_eq!(settings.audit_log, Path::new("/var/log/audit"));
        assert_eq!(settings.tool_timeout, Duration::from_secs(30));
        assert_eq!(settings.format, Format::Text);
        assert_eq!(settings.color, ColorChoice::Auto);
        assert_eq!(settings.verbosity, Verbosity::Normal);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "repo = '/file/repo'\nhost = 'file-host'\nnetns = 'green'\n";
        let from_file = settings(&[], Some(file)).unwrap();
        assert_eq!(from_file.repo, Path::new("/file/repo"));
        assert_eq!(from_file.host.as_str(), "file-host@green");
        assert_eq!(from_file.netns.unwrap().given(), "green");
        assert!(from_file.config.is_some());

        let flags =
            ["--repo", "/flag/repo", "--host", "flag-host", "--netns", "blue", "--format", "json", "-vv"];
        let from_flags = settings(&flags, Some(file)).unwrap();
        assert_eq!(from_flags.repo, Path::new("/flag/repo"));
        assert_eq!(from_flags.host.as_str(), "flag-host@blue");
        assert_eq!(from_flags.netns.unwrap().given(), "blue");
        assert_eq!(from_flags.format, Format::Json);
        assert_eq!(from_flags.verbosity, Verbosity::Trace);
    }

    #[test]
    fn a_named_namespace_has_a_name_of_its_own_and_either_names_the_other() {
        let check = |flags: &[&str], file: &str, host: &str, netns: Option<&str>| {
            let found = settings(flags, Some(file)).unwrap();
            let given = found.netns.map(|netns| netns.given());
            assert_eq!((found.host.as_str(), given.as_deref()), (host, netns), "{flags:?} {file}");
        };
        let web = "host = 'web'";
        check(&[], web, "web", None);
        check(&["--netns", "blue"], web, "web@blue", Some("blue"));
        check(&["--host", "db@blue"], web, "db@blue", Some("blue"));
        check(&["--host", "db@blue", "--netns", "blue"], web, "db@blue", Some("blue"));
        check(&["--host", "db@blue", "--netns", "green"], web, "db@blue", Some("green"));
        check(&["--host", "db@blue", "--netns", "pid:7"], web, "db@blue", Some("pid:7"));
        check(&["--netns", "pid:7"], web, "web", Some("pid:7"));
        check(&["--netns", "/proc/7/ns/net"], web, "web", Some("/proc/7/ns/net"));
        let both = "host = 'web'\nnetns = 'green'";
        check(&[], both, "web@green", Some("green"));
        check(&["--netns", "blue"], both, "web@blue", Some("blue"));
        check(&["--host", "db@blue"], both, "db@blue", Some("blue"));
        check(&["--all-netns"], both, "web", None);
        check(&["--netns", "blue"], "host = 'web@green'", "web@blue", Some("blue"));
        assert!(matches!(
            settings(&["--all-netns", "--host", "a@b"], None),
            Err(ConfigError::HostOfOne { .. })
        ));
        assert!(matches!(settings(&["--netns", "a b"], None), Err(ConfigError::NetnsFlag { .. })));
        let error = settings(&[], Some("netns = 'pid:7'")).unwrap_err();
        assert!(error.to_string().contains("does not last"), "{error}");
    }

    #[test]
    fn a_config_that_was_asked_for_and_is_missing_is_an_error() {
        let error = settings(&["--config", "/nonexistent/fwdrift.toml"], None).unwrap_err();
        assert!(matches!(error, ConfigError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_config_that_is_a_directory_is_an_error() {
        let error = settings(&["--config", "/"], None).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn an_unusable_hostname_matters_only_where_no_other_name_is_given() {
        let resolve = |flags: &[&str]| {
            let program = Program::try_parse_from(std::iter::once(&"fwdrift").chain(flags)).unwrap();
            Settings::resolve_with(&program.global, Path::new("/nonexistent"), || "../etc".to_owned())
        };
        let error = resolve(&[]).unwrap_err();
        assert!(matches!(error, ConfigError::Hostname { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--host"));
        assert_eq!(resolve(&["--host", "web-01"]).unwrap().host.as_str(), "web-01");
        assert!(matches!(resolve(&["--host", "a/b"]), Err(ConfigError::HostFlag { .. })));
    }

    #[test]
    fn a_relative_repository_flag_is_made_absolute() {
        assert!(settings(&["--repo", "here"], None).unwrap().repo.is_absolute());
    }

    #[test]
    fn quiet_and_verbose_exclude_each_other() {
        assert!(Program::try_parse_from(["fwdrift", "-q", "-v"]).is_err());
    }

    #[test]
    fn markdown_is_refused_by_a_command_without_it() {
        let settings = settings(&["--format", "markdown"], None).unwrap();
        let error = settings.require_format("check", &[Format::Text, Format::Json]).unwrap_err();
        assert_eq!(error.to_string(), "check has no --format markdown");
        assert!(settings.require_format("report", &[Format::Text, Format::Markdown]).is_ok());
    }
}
