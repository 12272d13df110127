//! A network namespace with one ruleset in it, and a repository that watches it.

use crate::listing::Listing;
use crate::manifest::{self, Entry, Loader};
use crate::raw;
use chrono::DateTime;
use fwdrift::collect::{self, links};
use fwdrift::compare::Known;
use fwdrift::config::{ColorChoice, Format, NetnsRef, Settings, Verbosity};
use fwdrift::decode;
use fwdrift::ledger::Repository;
use fwdrift::model::{
    Author, Backend, Change, CheckResult, Digest, Files, HostName, Provenance, Ruleset, Set, TableKey,
    text_from_kernel,
};
use fwdrift::normalise::normalise;
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;
use fwdrift::tool::Tool;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// The table that is added to every ruleset: its element is in the baseline, and expires.
pub const EXPIRING: &str = "fwdrift_expiring";

/// A namespace under test.
pub struct Live {
    pub entry: Entry,
    pub netns: Netns,
    repo: TempDir,
    changed: AtomicBool,
    pristine: Mutex<Option<Pristine>>,
}

/// What the live state is put back to between two mutations, without any program.
struct Pristine {
    approved: Arc<Ruleset>,
    ruleset: Arc<Ruleset>,
    listing: Arc<Listing>,
    /// A table with the owner flag lives as long as the socket that made it.
    _owner: Socket,
    /// Whether the file must be loaded again, as messages do not give back all of it.
    by_file: bool,
}

/// Makes the ipsets that a file looks up, in the calling thread's namespace.
pub fn make_ipsets(entry: &Entry) {
    let Ok(text) = std::fs::read(&entry.path) else { return };
    let family = if entry.name.contains("ip6tables") { "inet6" } else { "inet" };
    for name in manifest::ipsets(&String::from_utf8_lossy(&text)) {
        Tool::find("ipset").unwrap().args(["create", &name, "hash:ip", "family", family]).run().unwrap();
    }
}

impl Live {
    /// Loads a ruleset into a namespace of its own; none if its program refuses it.
    pub fn load(entry: &Entry) -> Option<Self> {
        let live = Self::empty(entry);
        if live.load_file().is_ok() {
            return Some(live);
        }
        let text = String::from_utf8_lossy(&std::fs::read(&entry.path).unwrap()).into_owned();
        let devices = manifest::devices(&text);
        live.netns.run(|| devices.iter().for_each(|name| drop(links::make(0, name.as_bytes())))).unwrap();
        live.netns.run(|| make_ipsets(entry)).unwrap();
        live.load_file().is_ok().then_some(live)
    }

    /// A namespace without any rules, watched from a repository that does not exist yet.
    pub fn empty(entry: &Entry) -> Self {
        Self {
            entry: entry.clone(),
            netns: Netns::create().unwrap(),
            repo: tempfile::tempdir().unwrap(),
            changed: AtomicBool::new(false),
            pristine: Mutex::new(None),
        }
    }

    fn load_file(&self) -> Result<String, String> {
        self.load_path(&self.entry.path, self.entry.loader)
    }

    /// Loads a file with its program, over what is there.
    pub fn load_path(&self, path: &Path, loader: Loader) -> Result<String, String> {
        let path = path.to_str().unwrap();
        match loader {
            Loader::Nft => self.nft(&["-f", path]),
            Loader::NftJson => self.nft(&["-j", "-f", path]),
            Loader::Restore(program) => self.run(program, &[], Some(std::fs::read(path).unwrap())),
        }
    }

    /// Runs a program in the namespace.
    pub fn run(&self, program: &str, args: &[&str], input: Option<Vec<u8>>) -> Result<String, String> {
        let lock = self.repo.path().join("xtables.lock");
        let run = || {
            let tool = Tool::find(program).unwrap().args(args.iter().copied());
            let tool = tool.env("XTABLES_LOCKFILE", lock.to_str().unwrap());
            if let Some(input) = input { tool.input(input) } else { tool }.run()
        };
        self.mark_changed();
        let output = self.netns.run(run).unwrap().map_err(|error| error.to_string())?;
        Ok(text_from_kernel(&output.stdout))
    }

    /// Runs nft in the namespace.
    pub fn nft(&self, args: &[&str]) -> Result<String, String> {
        let run = || Tool::find("nft").unwrap().args(args.iter().copied()).run();
        let output = self.netns.run(run).unwrap().map_err(|error| error.to_string())?;
        Ok(text_from_kernel(&output.stdout))
    }

    /// Feeds nft a script: one transaction.
    pub fn script(&self, script: &str) -> Result<String, String> {
        let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
        let output = self.netns.run(run).unwrap().map_err(|error| error.to_string())?;
        self.mark_changed();
        Ok(text_from_kernel(&output.stdout))
    }

    /// Notes that the ruleset may no longer be the file's.
    pub fn mark_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// The ruleset that is loaded now is what every mutation starts from: it is made anew from its own
    /// messages, and nothing of it may get lost by that.
    pub fn keep(&self, approved: Ruleset) -> Result<(), String> {
        let ruleset = Arc::new(self.ruleset()?);
        let owner = self.remake(&ruleset)?;
        // A large set without a size gets one: see `decode`.
        let is_sized = |set: &Set| set.elements.len() > 100;
        let sized = ruleset.tables.values().any(|table| table.sets.values().any(is_sized));
        if !sized && self.ruleset()?.digest() != ruleset.digest() {
            return Err("made anew from its messages, it is another ruleset".to_owned());
        }
        if sized {
            self.reload();
        }
        let (approved, listing) = (Arc::new(approved), Arc::new(self.listing()));
        *self.pristine.lock().unwrap() =
            Some(Pristine { approved, ruleset, listing, _owner: owner, by_file: sized });
        self.changed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Puts back what [`Self::keep`] kept if anything was changed since; what nft lists of it.
    pub fn restore(&self) -> Arc<Listing> {
        let mut kept = self.pristine.lock().unwrap();
        let kept = kept.as_mut().expect("nothing is kept");
        if self.changed.load(Ordering::Relaxed) {
            match kept.by_file {
                true => self.reload(),
                false => kept._owner = self.remake(&kept.ruleset).unwrap(),
            }
            self.changed.store(false, Ordering::Relaxed);
        }
        kept.listing.clone()
    }

    /// Whether a ruleset can be made over netlink without any other change of it.
    pub fn is_remakable(&self) -> bool {
        !self.pristine.lock().unwrap().as_ref().expect("nothing is kept").by_file
    }

    /// Keeps the socket that made the present tables, until they are put back.
    pub fn keep_alive(&self, owner: Socket) {
        self.pristine.lock().unwrap().as_mut().expect("nothing is kept")._owner = owner;
    }

    /// What was kept, as fwdrift reads it.
    pub fn kept(&self) -> Arc<Ruleset> {
        self.pristine.lock().unwrap().as_ref().expect("nothing is kept").ruleset.clone()
    }

    /// Whether no other file has made just this ruleset: what holds for the one holds for the other.
    pub fn is_first_of_its_kind(&self) -> bool {
        static SEEN: Mutex<BTreeSet<Digest>> = Mutex::new(BTreeSet::new());
        SEEN.lock().unwrap().insert(self.kept().digest())
    }

    /// Empties the namespace and makes a ruleset in it, over netlink.
    pub fn remake(&self, ruleset: &Ruleset) -> Result<Socket, String> {
        raw::flush(self);
        let made = self.netns.run(|| decode::transplant(ruleset)).unwrap();
        made.map_err(|error| error.to_string())
    }

    /// The live state, as fwdrift reads it.
    pub fn ruleset(&self) -> Result<Ruleset, String> {
        let (capture, gaps) = collect::capture(&self.netns, None).map_err(|error| error.to_string())?;
        assert!(gaps.is_empty(), "{gaps:?}");
        normalise(&capture).map_err(|error| error.to_string())
    }

    /// What differs from the approved state that [`Self::keep`] was given: by the pipeline's own comparison,
    /// without git and the evidence.
    pub fn drift(&self) -> Result<Vec<Change>, String> {
        let approved = self.pristine.lock().unwrap().as_ref().expect("nothing is kept").approved.clone();
        let mut live = self.ruleset()?;
        // A reading without a list has no kernel settings.
        let settings = TableKey::of_all(Backend::Sysctl);
        live.tables.extend(approved.tables.get(&settings).map(|table| (settings, table.clone())));
        let found = pipeline::compared(&approved, &live, &Known::default()).map_err(|e| e.to_string())?;
        Ok(found.differences.into_iter().map(|difference| difference.change).collect())
    }

    /// What nft lists, without counters.
    pub fn listing(&self) -> Listing {
        self.try_listing().unwrap()
    }

    /// The same; nft itself dies of some rulesets.
    pub fn try_listing(&self) -> Result<Listing, String> {
        Ok(Listing::parse(&self.nft(&["-s", "-a", "list", "ruleset"])?))
    }

    /// Adds the table whose element expires.
    pub fn add_expiring(&self, timeout: Option<Duration>) {
        let element = match timeout {
            Some(timeout) => format!("elements = {{ 192.0.2.1 timeout {}ms }};", timeout.as_millis()),
            None => String::new(),
        };
        let set = format!("set s {{ type ipv4_addr; flags timeout; {element} }}");
        self.script(&format!("table inet {EXPIRING} {{\n{set}\n}}")).unwrap();
    }

    /// Empties the namespace and loads the file again.
    pub fn reload(&self) {
        self.reload_as(&self.entry.path, self.entry.loader).unwrap();
    }

    /// Empties the namespace and loads another file.
    pub fn reload_as(&self, path: &Path, loader: Loader) -> Result<(), String> {
        if !self.entry.is_legacy() {
            self.script("flush ruleset")?;
        }
        self.load_path(path, loader)?;
        if !self.entry.is_legacy() {
            self.add_expiring(None);
        }
        self.changed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Sends packets through `lo` in both families: counters move, dynamic sets fill.
    pub fn send_packets(&self) {
        let send = || {
            let _ = Tool::find("ip").unwrap().args(["link", "set", "lo", "up"]).run();
            for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]")] {
                let Ok(socket) = std::net::UdpSocket::bind(from) else { continue };
                // A rule may refuse the packet on its way out.
                [22, 53, 80, 443, 5353].iter().for_each(|port| {
                    drop(socket.send_to(b"fwdrift", format!("{to}:{port}")));
                });
            }
        };
        self.netns.run(send).unwrap();
    }

    fn settings(&self) -> Settings {
        self.settings_for(&self.netns)
    }

    fn settings_for(&self, netns: &Netns) -> Settings {
        let netns = format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd());
        Settings {
            config: None,
            repo: self.repo.path().join("repo"),
            host: HostName::parse("h").unwrap(),
            netns: Some(NetnsRef::parse(Path::new(&netns)).unwrap()),
            all_netns: false,
            audit_log: self.repo.path().to_owned(),
            tool_timeout: Duration::from_secs(30),
            checkpoint_every: Duration::from_secs(86400),
            full_look_every: Duration::from_secs(3600),
            poll_every: Duration::from_secs(10),
            notify: fwdrift::config::NotifySettings::default(),
            format: Format::Text,
            color: ColorChoice::Never,
            verbosity: Verbosity::Normal,
        }
    }

    /// Makes the live state the baseline. Returns its files.
    pub fn init(&self) -> Result<Files, String> {
        let (baseline, _) = pipeline::init(&self.settings(), &[]).map_err(|error| error.to_string())?;
        Ok(baseline.files)
    }

    /// Approves all drift. Returns the files of the baseline that this makes.
    pub fn approve(&self) -> Result<Files, String> {
        let request = pipeline::Request {
            selection: pipeline::Selection::All,
            reviewed: None,
            reason: None,
            ticket: None,
            replace_authored: false,
        };
        let settings = self.settings();
        let done = pipeline::approve(&settings, &request, |_, _| Ok(true)).map_err(|e| e.to_string())?;
        done.ok_or("there was nothing to approve")?;
        let repository = Repository::open(&settings.repo).map_err(|error| error.to_string())?;
        Ok(repository.baseline(&settings.host).map_err(|error| error.to_string())?.unwrap().files)
    }

    /// The drift check, by the pipeline, and the approved state. The quick way and the full one have to agree.
    pub fn check(&self) -> Result<(CheckResult, Ruleset), String> {
        let checked = pipeline::look(&self.settings()).map_err(|error| error.to_string())?;
        let quick = pipeline::check(&self.settings()).map_err(|error| error.to_string())?;
        // Where the budget is used up, how much was found by then is nobody's promise.
        let is_partial =
            |result: &CheckResult| result.changes.iter().any(|change| change.impact_incomplete.is_some());
        let settled = match is_partial(&quick) || is_partial(&checked.result) {
            true => |result: &CheckResult| without_effects(timeless(result)),
            false => timeless,
        };
        if settled(&quick) != settled(&checked.result) {
            return Err(format!(
                "the quick look differs: {quick:#?}\nfrom the full one: {:#?}",
                checked.result
            ));
        }
        Ok((checked.result.clone(), checked.approved().clone()))
    }

    /// The drift check of another namespace against this one's baseline.
    pub fn check_other(&self, other: &Netns) -> Result<CheckResult, String> {
        pipeline::check(&self.settings_for(other)).map_err(|error| error.to_string())
    }

    /// Whether the element that expires is (still) there.
    pub fn is_expiring_present(&self) -> bool {
        self.nft(&["list", "set", "inet", EXPIRING, "s"]).unwrap().contains("192.0.2.1")
    }
}

/// A result without its times: two looks are two moments.
fn without_effects(mut result: CheckResult) -> CheckResult {
    for change in &mut result.changes {
        (change.severity, change.impact, change.impact_incomplete) = (None, None, None);
    }
    result
}

fn timeless(result: &CheckResult) -> CheckResult {
    let mut result = CheckResult { captured_at: DateTime::UNIX_EPOCH, ..result.clone() };
    for change in &mut result.changes {
        change.author = Author::default();
        for effect in change.impact.iter_mut().flatten() {
            for decider in [&mut effect.was, &mut effect.now].into_iter().flatten() {
                if let Some(Provenance::Drift { author, .. }) = &mut decider.provenance {
                    **author = Author::default();
                }
            }
        }
    }
    result
}
