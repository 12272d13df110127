//! A command that reads the event on its standard input.

use crate::receiver::Site;
use serde_json::Value;

#[test]
fn a_command_gets_the_alert_on_its_standard_input_and_nothing_else() {
    let site =
        Site::new("[notify.command]\nrun = ['/bin/sh', '-c', 'cat >>DIR/in; env >DIR/env; pwd >>DIR/env']\n");
    site.record(0);
    let mut program = site.host.command(&["record", "-q"]);
    site.host.nft(crate::receiver::DROP);
    program.env("PASSWORD", "geheim").env("LD_PRELOAD", "");
    assert_eq!(program.output().unwrap().status.code(), Some(1));
    let text = std::fs::read_to_string(site.host.path("in")).unwrap();
    assert_eq!(text.lines().count(), 1);
    let alert: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&alert["schema"], &alert["kind"]), (&"fwdrift.alert/1".into(), &"drift".into()));
    let env = std::fs::read_to_string(site.host.path("env")).unwrap();
    let names: Vec<&str> = env.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert!(names.iter().all(|name| ["LC_ALL", "TZ", "PATH", "PWD", "/"].contains(name)), "{env}");
}

#[test]
fn a_command_that_fails_is_run_again_in_the_next_run() {
    let site = Site::new("[notify.command]\nrun = ['/bin/sh', '-c', 'test -e DIR/up && cat >>DIR/in']\n");
    site.record(0);
    let said = site.drift();
    assert!(said.contains("alerts to command: /bin/sh ended with status 1"), "{said}");
    site.host.file("up", "");
    site.record(1);
    assert_eq!(std::fs::read_to_string(site.host.path("in")).unwrap().lines().count(), 1);
}

#[test]
fn only_the_kinds_that_are_wanted_arrive() {
    let site = Site::new("[notify.command]\nrun = ['/bin/sh', '-c', 'cat >>DIR/in']\nkinds = ['reverted']\n");
    site.record(0);
    site.drift();
    site.revert();
    let text = std::fs::read_to_string(site.host.path("in")).unwrap();
    let kinds: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds, ["reverted"]);
}
