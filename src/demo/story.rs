//! The story: an approved firewall, a routine security update that cuts the database off, and the way back.

use super::DemoError;
use super::narrator::Narrator;
use super::people::Account;
use super::stage::{PATIENCE, Stage};

/// Puts the approved file back in one transaction, so that there is no moment without rules.
const PUT_BACK: &str = "{ echo 'delete table inet filter'
    git -C repo show main:baselines/db-01/nft/inet-filter.nft; } | nft -f -";

/// Says which traffic must get through, and commits it beside the baseline.
const REQUIRE: &str = "cat > repo/fwdrift.toml <<'END'
[[flow]]
name = \"shop to database\"
from = \"10.0.1.0/24\"
to = \"10.0.2.9\"
proto = \"tcp\"
port = 3306
owner = \"the shop's team\"
END
git -C repo add fwdrift.toml
git -C repo -c user.name=dba2 -c user.email=dba2@db-01 commit -qm 'what must get through'";

/// Exit codes of `check` and `record`.
const IN_SYNC: i32 = 0;
const BROKEN_FLOW: i32 = 3;

/// Tells it. Each step is checked: a demo that shows something else than it says is an error.
pub(super) fn tell(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    prologue(stage, narrator)?;
    approve(stage, narrator)?;
    outage(stage, narrator)?;
    find(stage, narrator)?;
    put_back(stage, narrator)?;
    look_back(stage, narrator)?;
    narrator.print(
        "\n\
That was fwdrift. On a real host:\n\
\n    sudo fwdrift init         approve today's firewall\
\n    sudo fwdrift check        look at any time\
\n    sudo fwdrift record -q    from cron, or with systemd/fwdrift-record.timer\n",
    )
}

fn prologue(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    narrator.print(&format!(
        "\
An outage in small: a routine update cuts web servers off from their database.

A network namespace stands for the database host db-01, another one for a web
server. nft, git and the kernel's audit records are real. This machine's own
firewall is not touched, and nothing stays behind: all files are in
{}
(demo.toml there names host, repository and audit log).
",
        stage.directory().display()
    ))?;
    if let Some(why) = &stage.audit.shortfall {
        narrator.print(&format!(
            "\nHere the kernel's audit records are not to be had: {why}.\n\
             So fwdrift cannot know who made a change, and will say so: unknown.\n"
        ))?;
    } else if !stage.accounts.can_log_in {
        narrator.print(
            "\nThis machine does not let a demo log in as somebody else, so that the\n\
             changes below will bear your own login.\n",
        )?;
    }
    Ok(())
}

fn approve(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    narrator.step("The firewall of db-01 lets the web servers in. It is approved as it is: from\nnow on, this is what it should be.")?;
    fwdrift(stage, narrator, "init", IN_SYNC)?;
    connection(stage, narrator, true)?;
    let name = stage.accounts.name(Account::Dba2);
    narrator.step(&format!("{name} writes down what must get through, whatever anybody changes."))?;
    run(stage, narrator, Account::Dba2, REQUIRE)?;
    narrator.step("Nothing has changed since, and the check says so.")?;
    fwdrift(stage, narrator, "check", IN_SYNC)
}

fn outage(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    let name = stage.accounts.name(Account::Ops1);
    narrator.step(&format!("The account {name} runs a routine security update."))?;
    run(stage, narrator, Account::Ops1, "cat security-update.sh")?;
    run(stage, narrator, Account::Ops1, "sh security-update.sh")?;
    connection(stage, narrator, false)?;
    narrator.print("The shop is down, and everybody looks at the database.\n")
}

fn find(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    narrator.step("The timer runs `record`, which writes the change to the ledger and says who,\nwhen and what. This is the mail that goes out.")?;
    fwdrift(stage, narrator, "record -q", BROKEN_FLOW)?;
    narrator.step("The engineer on call looks for herself, and pastes this to the others.")?;
    fwdrift(stage, narrator, "check", BROKEN_FLOW)?;
    narrator.step("What becomes of one packet, and who put the rule there that decides?")?;
    fwdrift(stage, narrator, "trace tcp 10.0.1.7 10.0.2.9:3306", IN_SYNC)
}

fn put_back(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    let name = stage.accounts.name(Account::Dba2);
    narrator.step(&format!("Her colleague {name} puts the approved file back, with git and nft alone."))?;
    run(stage, narrator, Account::Dba2, PUT_BACK)?;
    connection(stage, narrator, true)?;
    narrator.step("The next `record` sees that the drift has ended, and by whose hand.")?;
    fwdrift(stage, narrator, "record -q", IN_SYNC)
}

fn look_back(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), DemoError> {
    narrator.step("The ledger keeps all of it: one commit an event.")?;
    fwdrift(stage, narrator, "log", IN_SYNC)?;
    narrator.step("And this is what the auditor gets.")?;
    fwdrift(stage, narrator, "report", IN_SYNC)
}

/// Shows and runs one command of fwdrift.
fn fwdrift(
    stage: &Stage,
    narrator: &mut Narrator<'_>,
    command: &str,
    expected: i32,
) -> Result<(), DemoError> {
    narrator.command(&stage.line(command))?;
    let status = stage.fwdrift(command)?;
    narrator.interruption()?;
    if status.code() == Some(expected) {
        return Ok(());
    }
    let what = format!("`fwdrift {command}` ended with {status}, where {expected} was expected");
    Err(DemoError::Unexpected { what })
}

/// Shows and runs a script by an account.
fn run(stage: &Stage, narrator: &mut Narrator<'_>, by: Account, script: &str) -> Result<(), DemoError> {
    narrator.command(script)?;
    narrator.print(&stage.script(by, script)?)
}

/// A real connection from the web server to the database.
fn connection(stage: &Stage, narrator: &mut Narrator<'_>, expected: bool) -> Result<(), DemoError> {
    let (connected, took) = stage.connects()?;
    let took = took.as_secs_f64() * 1000.0;
    let outcome = match connected {
        true => format!("connected after {took:.1} ms"),
        false => format!("no answer within {} ms", PATIENCE.as_millis()),
    };
    narrator.print(&format!("\nweb server 10.0.1.7 → database 10.0.2.9:3306: {outcome}\n"))?;
    if connected == expected {
        return Ok(());
    }
    Err(DemoError::Unexpected { what: format!("the web server's connection to the database: {outcome}") })
}
