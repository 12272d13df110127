//! Where cron, pipes and odd shells run it.

use crate::support::{Host, SYSTEM_PATH, run};

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let host = Host::approved();
    let rules: String = (1..3000).map(|port| format!("add rule inet t c tcp dport {port} drop\n")).collect();
    host.nft(&rules);
    let program = env!("CARGO_BIN_EXE_fwdrift");
    let repo = host.repo();
    let call = format!("{program} --repo {} --host web-01", repo.display());
    for command in ["check", "--format json check", "record", "log", "show 2", "report"] {
        let mut shell = host.command(&["/bin/sh", "-c", &format!("{call} {command} | head -n 1")]);
        let run = run(shell.env("PATH", SYSTEM_PATH));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(run.stdout.lines().count() <= 1);
    }
}

#[test]
fn without_environment_home_input_and_directory_it_works() {
    let host = Host::approved();
    host.nft("add rule inet t c tcp dport 23 drop");
    let program = env!("CARGO_BIN_EXE_fwdrift");
    let repo = host.repo();
    for (command, code) in [("check", 1), ("record -q", 1), ("log", 0), ("report", 0), ("approve -m why", 0)]
    {
        let script = format!(
            "mkdir {0}; cd {0}; rmdir {0}; exec /usr/bin/env -i {program} --repo {1} --host web-01 {command} <&-",
            host.path("gone"),
            repo.display()
        );
        let run = run(host.command(&["/bin/sh", "-ec", &script]).env("PATH", SYSTEM_PATH));
        run.succeeded(code);
    }
    host.fwdrift(&["check"]).succeeded(0);
}

#[test]
fn a_relative_repository_from_a_directory_that_is_gone_is_refused() {
    let host = Host::approved();
    let script = format!(
        "mkdir {0}; cd {0}; rmdir {0}; exec {1} --host web-01 --repo repo check",
        host.path("gone"),
        env!("CARGO_BIN_EXE_fwdrift")
    );
    run(host.command(&["/bin/sh", "-ec", &script]).env("PATH", SYSTEM_PATH))
        .refused(&["cannot make repo absolute", "absolute path"]);
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let host = Host::approved();
    for command in ["check", "log", "report", "record"] {
        let script = format!(
            "exec {} --repo {} --host web-01 {command} > /dev/full",
            env!("CARGO_BIN_EXE_fwdrift"),
            host.repo().display()
        );
        run(host.command(&["/bin/sh", "-ec", &script]).env("PATH", SYSTEM_PATH))
            .refused(&["standard output", "No space left on device"]);
    }
}
