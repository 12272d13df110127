//! What starts services, and what runs `fwdrift record`.

use super::RunTool;
use crate::doctor::facts::{Schedule, ServiceManager};
use crate::tool::locate;
use std::path::{Path, PathBuf};

/// Where cron.d's example of fwdrift is installed to.
const CRON: &str = "/etc/cron.d/fwdrift";

pub(super) fn service_manager() -> ServiceManager {
    if Path::new("/run/systemd/system").is_dir() {
        ServiceManager::Systemd
    } else if Path::new("/run/openrc").is_dir() {
        ServiceManager::OpenRc
    } else {
        ServiceManager::Other
    }
}

pub(super) fn look(manager: ServiceManager, run: &RunTool<'_>) -> Schedule {
    let cron = Path::new(CRON).is_file().then(|| Schedule::Cron(PathBuf::from(CRON)));
    let timer = match manager {
        ServiceManager::Systemd => locate("systemctl").and_then(|systemctl| timer(&systemctl, run)),
        ServiceManager::OpenRc | ServiceManager::Other => None,
    };
    match (timer, cron) {
        (Some(timer @ Schedule::Timer { active: true, .. }), _) => timer,
        (_, Some(cron)) => cron,
        (Some(timer), None) => timer,
        (None, None) => Schedule::Nothing,
    }
}

fn timer(systemctl: &Path, run: &RunTool<'_>) -> Option<Schedule> {
    // Unlike `is-enabled`, `show` succeeds whatever the state is.
    let asked =
        run(systemctl, &["show", "--property=LoadState,UnitFileState,ActiveState", "fwdrift-record.timer"]);
    match asked {
        Ok(stdout) => parse(&String::from_utf8_lossy(&stdout)),
        Err(reason) => Some(Schedule::TimerUnknown(reason)),
    }
}

fn parse(text: &str) -> Option<Schedule> {
    let is = |property: &str| text.lines().any(|line| line == property);
    is("LoadState=loaded")
        .then(|| Schedule::Timer { enabled: is("UnitFileState=enabled"), active: is("ActiveState=active") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_what_systemd_says_it_is() {
        let check = |text: &str, expect| assert_eq!(parse(text), expect);
        check(
            "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n",
            Some(Schedule::Timer { enabled: true, active: true }),
        );
        check(
            "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n",
            Some(Schedule::Timer { enabled: false, active: false }),
        );
        check("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", None);
    }
}
