//! Too few rights.

use crate::support::Host;

const COMMANDS: [&[&str]; 7] =
    [&["init"], &["check"], &["record"], &["approve", "-y"], &["log"], &["show", "1"], &["report"]];
const READ_THE_KERNEL: usize = 4;

#[test]
fn every_command_of_an_ordinary_user_is_refused_with_what_to_do() {
    let host = Host::approved();
    let before = host.state();
    host.sh(&format!("chmod 755 {}", host.dir.path().display()));
    // A user that no file names, so that no account is needed.
    let user = ["/usr/bin/setpriv", "--reuid", "3100007", "--regid", "3100007", "--clear-groups"];
    for command in COMMANDS {
        host.fwdrift_as(&user, command).refused(&["hint: run as"]);
    }
    let elsewhere = host.path("new/repo");
    host.fwdrift_as(&user, &["--repo", &elsewhere, "init"]).refused(&["hint: run as"]);
    assert!(!host.dir.path().join("new").exists());
    assert_eq!(host.state(), before);
}

#[test]
fn root_without_a_capability_reads_the_ledger_and_is_told_what_the_rest_needs() {
    let host = Host::approved();
    let main = || host.git("rev-parse main");
    let before = main();
    for (bound, name) in [("-net_admin", "CAP_NET_ADMIN"), ("-sys_admin", "CAP_SYS_ADMIN")] {
        let bound = format!("--bounding-set={bound}");
        let without = ["/usr/bin/setpriv", &bound];
        for (number, command) in COMMANDS.into_iter().enumerate() {
            let run = host.fwdrift_as(&without, command);
            match number < READ_THE_KERNEL {
                true => run.refused(&["Operation not permitted", name]),
                false => drop(run.succeeded(0)),
            }
        }
    }
    // `record` writes down, once for each reason, that it could not look.
    assert_eq!((main(), host.git("rev-list --count live/web-01").trim()), (before, "3"));
}
