//! The required flows as JUnit's XML: one test case a flow, so that any CI shows them.
//!
//! Valid against the schemas of Ant (windyroad's) and of Jenkins' xunit plug-in. A flow that cannot be determined is an
//! error, not a pass; so is what could not be looked at.

use super::{details, name};
use crate::model::{FlowOutcome, FlowsResult};
use crate::report::diff::side;
use crate::report::escape::xml;
use chrono::{DateTime, Utc};

/// The result as XML. `now` is the time of the test where no live state was read.
pub fn junit(result: &FlowsResult, now: DateTime<Utc>) -> String {
    let blind: Vec<String> = result.gaps.iter().filter(|gap| gap.blinds_verdict).map(gap_line).collect();
    let count = |holds: Option<bool>| result.flows.iter().filter(|flow| flow.holds == holds).count();
    let (failures, errors) = (count(Some(false)), count(None) + usize::from(!blind.is_empty()));
    let tests = result.flows.len() + usize::from(!blind.is_empty());
    let time = result.against.captured_at.unwrap_or(now).format("%Y-%m-%dT%H:%M:%S");
    let host = xml(&result.host);
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    out.push_str(&format!(
        "  <testsuite id=\"0\" package=\"fwdrift\" name=\"required flows\" hostname=\"{host}\" timestamp=\"{time}\" \
         time=\"0\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">\n    <properties>\n"
    ));
    push_property(&mut out, "against", &plain(&side(&result.against)));
    for (name, value) in [("netns", &result.netns), ("commit", &result.against.commit)] {
        value.iter().for_each(|value| push_property(&mut out, name, value));
    }
    out.push_str("    </properties>\n");
    for flow in &result.flows {
        push_case(&mut out, &format!("fwdrift.{}", result.host), flow);
    }
    if !blind.is_empty() {
        push_blind(&mut out, &format!("fwdrift.{}", result.host), &blind);
    }
    let unseen: Vec<String> = result.gaps.iter().map(gap_line).collect();
    let unseen = unseen.iter().map(|line| xml(line)).collect::<Vec<_>>().join("\n");
    out.push_str(&format!("    <system-out></system-out>\n    <system-err>{unseen}</system-err>\n"));
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn push_property(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("      <property name=\"{name}\" value=\"{}\"/>\n", xml(value)));
}

fn push_case(out: &mut String, class: &str, flow: &FlowOutcome) {
    let lines: Vec<String> = details(flow).iter().map(|line| plain(line)).collect();
    let (element, kind, otherwise) = match flow.holds {
        Some(true) => {
            out.push_str(&format!("    {}/>\n", case(class, &flow.name)));
            return;
        }
        Some(false) => ("failure", "broken", "is broken"),
        None => ("error", "inconclusive", "cannot be determined"),
    };
    let why = super::cause(flow).or_else(|| lines.first().cloned());
    let why = why.map(|why| format!(": {}", plain(&why))).unwrap_or_default();
    let message = format!("required flow {} {otherwise}{why}", name(flow));
    let asked = format!("expected: {}", super::asked(flow));
    let text: Vec<String> = [asked].iter().chain(&lines).map(|line| xml(line)).collect();
    out.push_str(&format!(
        "    {}>\n      <{element} message=\"{}\" type=\"{kind}\">{}</{element}>\n    </testcase>\n",
        case(class, &flow.name),
        xml(&message),
        text.join("\n")
    ));
}

/// What could not be looked at is no test that passed.
fn push_blind(out: &mut String, class: &str, lines: &[String]) {
    let text: Vec<String> = lines.iter().map(|line| xml(line)).collect();
    out.push_str(&format!(
        "    {}>\n      <error message=\"{}\" type=\"unseen\">{}</error>\n    </testcase>\n",
        case(class, "everything could be looked at"),
        text.first().map(String::as_str).unwrap_or_default(),
        text.join("\n")
    ));
}

/// The start of a test case, without its end.
fn case(class: &str, name: &str) -> String {
    format!("<testcase classname=\"{}\" name=\"{}\" time=\"0\"", xml(class), xml(name))
}

fn gap_line(gap: &crate::model::Gap) -> String {
    let hint = gap.hint.as_deref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("{}: {}{hint}", gap.source, gap.reason)
}

/// Without our own styles.
fn plain(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string()
}
