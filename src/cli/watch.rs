//! `fwdrift watch`.

use super::output::{Output, complain};
use super::record::{complain_of_gaps, text};
use crate::config::{Format, GlobalArgs, Settings, Verbosity};
use crate::model::Gap;
use crate::pipeline;
use crate::service::{Order, Service};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::time::Instant;

/// Looks until somebody asks it to end. The first look must succeed: what a person has to mend first is an error
/// of the start, not one of many lines in a log. Later ones are tried again.
pub fn run(settings: Settings, args: &GlobalArgs, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("watch", &[Format::Text])?;
    let mut service = Service::start()?;
    let mut watch = Watch { settings, said: Said::default() };
    watch.look(output)?;
    service.ready();
    let mut next_look = Instant::now() + watch.settings.poll_every;
    loop {
        service.status(&format!("watching {}", watch.settings.host));
        service.tend(Instant::now());
        wait(&service, service.next_ping().map_or(next_look, |ping| ping.min(next_look)))?;
        match service.take() {
            Some(Order::Stop) => break,
            Some(Order::Reload) => {
                service.reloading();
                watch.reload(args);
                service.ready();
                next_look = Instant::now();
            }
            None => {}
        }
        if Instant::now() >= next_look {
            watch.look_again(output);
            next_look = Instant::now() + watch.settings.poll_every;
        }
    }
    service.stopping();
    Ok(0)
}

/// Until there may be an order, or until `end`.
fn wait(service: &Service, end: Instant) -> anyhow::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(service, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

struct Watch {
    settings: Settings,
    said: Said,
}

/// What was complained of last: the same at each look would fill the journal.
#[derive(Default, PartialEq)]
struct Said {
    error: Option<String>,
    gaps: Vec<Gap>,
}

impl Watch {
    fn look(&mut self, output: &mut Output) -> anyhow::Result<()> {
        let recorded = pipeline::record(&self.settings)?;
        output.print(&text(&recorded, Verbosity::Quiet, &output.options()))?;
        if recorded.result.gaps != self.said.gaps {
            complain_of_gaps(&recorded);
        }
        self.said = Said { error: None, gaps: recorded.result.gaps };
        Ok(())
    }

    fn look_again(&mut self, output: &mut Output) {
        if let Err(error) = self.look(output) {
            let message = super::message(&error);
            if self.said.error.as_ref() != Some(&message) {
                complain(&message);
                self.said.error = Some(message);
            }
        }
    }

    /// Takes the configuration as it is now; one that cannot be used changes nothing.
    fn reload(&mut self, args: &GlobalArgs) {
        match Settings::resolve(args).map_err(anyhow::Error::from).and_then(super::with_found_netns) {
            Ok(settings) => self.settings = settings,
            Err(error) => {
                complain(&super::message(&error));
                complain("fwdrift: the configuration is as before\n");
            }
        }
    }
}
