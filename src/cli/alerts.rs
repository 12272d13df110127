//! After `record`, and during `watch`: what is new is queued for those who are to be told, and delivered for a while.
//!
//! Nothing here changes the exit code, which says how the firewall is. What goes wrong is told on stderr.

use super::output::complain;
use crate::config::{Settings, Verbosity};
use crate::ledger::{HostName, Repository};
use crate::model::LedgerEntry;
use crate::notify::{Background, Delivered, Notifier, NotifyError, Summary};
use crate::report::{Options, escape};
use std::time::{Duration, Instant};

/// How long the end of `watch` waits for what is being sent.
const PATIENCE: Duration = Duration::from_secs(2);

/// The alerts of one run.
pub(super) struct Alerts {
    settings: Settings,
    repository: Option<Repository>,
    notifiers: Vec<Notifier>,
    background: Vec<Background>,
}

impl Alerts {
    /// To be called before the look: the first run's events are told, too.
    pub(super) fn open(settings: &Settings) -> Self {
        let is_silent = settings.notify.is_silent();
        // What is wrong with the repository, the look itself says.
        let repository = if is_silent { None } else { Repository::open(&settings.repo).ok() };
        let mut alerts =
            Self { settings: settings.clone(), repository, notifiers: Vec::new(), background: Vec::new() };
        alerts.notifier(&settings.host);
        alerts
    }

    /// Delivers from now on, as soon as something is queued.
    pub(super) fn in_background(mut self) -> Self {
        self.background = self.notifiers.iter().map(Notifier::start).collect();
        self
    }

    /// Ends what [`Self::in_background`] began; what is not delivered stays queued.
    pub(super) fn stop(&mut self) {
        self.background.drain(..).for_each(|background| background.stop(PATIENCE));
    }

    /// Queues what a look recorded for `host`; without a summary, the look failed.
    pub(super) fn queue(
        &mut self,
        host: &str,
        entries: &[LedgerEntry],
        look: Option<&Summary>,
        options: &Options<'_>,
    ) {
        let Ok(host) = HostName::parse(host) else { return };
        let Some(at) = self.notifier(&host) else { return };
        let Some(repository) = &self.repository else { return };
        if let Err(error) = self.notifiers[at].queue(repository, entries, look, options) {
            complain_of(&error);
        }
        self.background.iter().for_each(Background::wake);
    }

    /// Delivers until the configured time is over.
    pub(super) fn deliver(self) {
        let deadline = Instant::now() + self.settings.notify.time_limit;
        let reports: Vec<Delivered> = std::thread::scope(|scope| {
            let work = self.notifiers.iter().map(|notifier| scope.spawn(|| notifier.deliver(deadline)));
            let work: Vec<_> = work.collect();
            work.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
        });
        let quiet = self.settings.verbosity == Verbosity::Quiet;
        for report in reports {
            // Cron mails what is printed: an outage is news once.
            if let Some(error) = report.error.as_ref().filter(|_| report.is_news || !quiet) {
                let wait = match report.waiting {
                    0 => String::new(),
                    1 => "; 1 alert waits".to_owned(),
                    n => format!("; {n} alerts wait"),
                };
                let text = format!("alerts to {}: {error}{wait}", report.sink);
                complain(&format!("fwdrift: {}\n", escape::terminal(&text)));
            }
        }
    }

    /// The place of a host's notifier; none where nobody is to be told, or it cannot be prepared.
    fn notifier(&mut self, host: &HostName) -> Option<usize> {
        let repository = self.repository.as_ref()?;
        if let Some(at) = self.notifiers.iter().position(|notifier| notifier.host() == host) {
            return Some(at);
        }
        let settings = Settings { host: host.clone(), ..self.settings.clone() };
        match Notifier::open(&settings, repository) {
            Ok(notifier) => self.notifiers.push(notifier),
            Err(error) => {
                complain_of(&error);
                return None;
            }
        }
        self.notifiers.len().checked_sub(1)
    }
}

fn complain_of(error: &NotifyError) {
    complain(&format!("fwdrift: alerts: {}\n", escape::terminal(&error.to_string())));
    if let Some(hint) = error.hint() {
        complain(&format!("hint: {}\n", escape::terminal(&hint)));
    }
}
