//! What audit records say beside the change itself: where a session came from, and with which arguments a program
//! was started. Pure; bounded.
//!
//! In: sessions and programs as their records come. Out: the [`Background`](crate::model::Background) of events.
//! Joined by numbers that only the kernel gives (session, login uid, process, executable), never by time alone.

use super::record::SessionStart;
use crate::model::{AuditEvent, Syscall};
use std::collections::{HashMap, VecDeque};

/// How many sessions are remembered, and how many started programs.
const SESSIONS: usize = 8192;
const PROGRAMS: usize = 2048;
/// Of a longer command line, the rest is dropped.
const LONGEST: usize = 8 * 1024;

#[derive(Debug)]
struct Program {
    serial: u64,
    syscall: Syscall,
    arguments: Vec<u8>,
}

/// Remembers both, the newest of each.
#[derive(Debug, Default)]
pub(super) struct Lore {
    sessions: HashMap<(u32, u32), String>,
    order_of_sessions: VecDeque<(u32, u32)>,
    programs: HashMap<u32, Vec<Program>>,
    order_of_programs: VecDeque<u32>,
}

impl Lore {
    /// A session began. The first word counts: it is that of the program that let the session in.
    pub(super) fn session(&mut self, start: SessionStart) {
        let key = (start.session, start.auid);
        if self.sessions.contains_key(&key) {
            return;
        }
        self.sessions.insert(key, start.remote);
        self.order_of_sessions.push_back(key);
        if self.order_of_sessions.len() > SESSIONS
            && let Some(oldest) = self.order_of_sessions.pop_front()
        {
            self.sessions.remove(&oldest);
        }
    }

    /// The address that a session came from.
    pub(super) fn remote(&self, session: Option<u32>, auid: Option<u32>) -> Option<&str> {
        self.sessions.get(&(session?, auid?)).map(String::as_str)
    }

    /// A program was started, by an event with this serial number.
    pub(super) fn program(&mut self, serial: u64, syscall: Syscall, mut arguments: Vec<u8>) {
        let pid = syscall.pid;
        if syscall.success != Some(true) {
            return;
        }
        arguments.truncate(LONGEST);
        arguments.shrink_to_fit();
        self.programs.entry(pid).or_default().push(Program { serial, syscall, arguments });
        self.order_of_programs.push_back(pid);
        if self.order_of_programs.len() > PROGRAMS
            && let Some(oldest) = self.order_of_programs.pop_front()
            && let Some(of_process) = self.programs.get_mut(&oldest)
        {
            of_process.remove(0);
            if of_process.is_empty() {
                self.programs.remove(&oldest);
            }
        }
    }

    /// The last program that the process of a system call had started before it, if it is the one that made the call.
    fn arguments(&self, serial: u64, call: &Syscall) -> Option<&[u8]> {
        let earlier = self.programs.get(&call.pid)?.iter().filter(|program| program.serial < serial);
        let last = earlier.max_by_key(|program| program.serial)?;
        let same = last.syscall.exe == call.exe
            && (last.syscall.auid, last.syscall.session) == (call.auid, call.session);
        same.then_some(&last.arguments)
    }

    /// Adds what is known to an event.
    pub(super) fn complete(&self, event: &mut AuditEvent) {
        let Some(call) = &event.syscall else { return };
        let remote = self.remote(call.session, call.auid).map(str::to_owned);
        let cmdline = self.arguments(event.serial, call).map(<[u8]>::to_vec);
        event.background.remote = event.background.remote.take().or(remote);
        event.background.cmdline = event.background.cmdline.take().or(cmdline);
    }
}

/// Arguments in pieces, as EXECVE records have them, as one command line.
pub(super) fn command_line(pieces: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut line = Vec::new();
    let mut last = None;
    for (index, piece) in pieces {
        if last.is_some_and(|last| last != *index) {
            line.push(0);
        }
        line.extend(piece);
        last = Some(*index);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Assembler;
    use crate::evidence::record::parse_line;

    fn call(pid: u32, exe: &str) -> Syscall {
        Syscall {
            auid: Some(1005),
            uid: 0,
            session: Some(4),
            tty: None,
            pid,
            ppid: None,
            comm: None,
            exe: Some(exe.as_bytes().to_vec()),
            success: Some(true),
            login_name: None,
            uid_name: None,
        }
    }

    #[test]
    fn the_last_program_before_the_change_gave_its_arguments() {
        let mut lore = Lore::default();
        lore.program(1, call(7, "/usr/bin/sh"), b"sh\0-c\0x".to_vec());
        lore.program(2, call(7, "/usr/sbin/nft"), b"nft\0-f\0/a".to_vec());
        lore.program(9, call(7, "/usr/sbin/nft"), b"nft\0-f\0/later".to_vec());
        let asked = |serial, pid, exe: &str| lore.arguments(serial, &call(pid, exe)).map(<[u8]>::to_vec);
        assert_eq!(asked(5, 7, "/usr/sbin/nft").as_deref(), Some(b"nft\0-f\0/a".as_slice()));
        assert_eq!(asked(5, 7, "/usr/bin/sh"), None, "it has become another program since");
        assert_eq!(asked(5, 8, "/usr/sbin/nft"), None);
        assert_eq!(asked(1, 7, "/usr/bin/sh"), None);
        let failed = Syscall { success: Some(false), ..call(6, "/usr/sbin/nft") };
        lore.program(3, failed, b"nft".to_vec());
        assert_eq!(lore.arguments(5, &call(6, "/usr/sbin/nft")), None);
    }

    #[test]
    fn a_session_is_known_by_its_number_and_login_and_the_first_word_counts() {
        let start = |remote: &str| SessionStart { session: 4, auid: 1005, remote: remote.to_owned() };
        let mut lore = Lore::default();
        lore.session(start("192.0.2.7"));
        lore.session(start("198.51.100.9"));
        assert_eq!(lore.remote(Some(4), Some(1005)), Some("192.0.2.7"));
        assert_eq!(lore.remote(Some(4), Some(1006)), None);
        assert_eq!((lore.remote(None, Some(1005)), lore.remote(Some(4), None)), (None, None));
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let mut lore = Lore::default();
        for number in 0..SESSIONS as u32 + 100 {
            lore.session(SessionStart { session: number, auid: 0, remote: "::1".to_owned() });
            lore.program(u64::from(number), call(number % 10, "/a"), vec![b'x'; LONGEST + 9]);
        }
        let programs: usize = lore.programs.values().map(Vec::len).sum();
        assert_eq!((lore.sessions.len(), programs), (SESSIONS, PROGRAMS));
        assert!(lore.programs.values().flatten().all(|program| program.arguments.len() == LONGEST));
        assert_eq!(lore.remote(Some(0), Some(0)), None);
        lore.session(SessionStart { session: 0, auid: 0, remote: "::1".to_owned() });
        assert!(lore.remote(Some(0), Some(0)).is_some());
    }

    #[test]
    fn a_log_of_programs_gives_whole_command_lines() {
        let long = "x".repeat(200);
        let log = format!(
            r#"type=SYSCALL msg=audit(1795179312.000:2): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=8 items=2 ppid=10770 pid=10771 auid=1005 uid=0 tty=pts1 ses=4 comm="nft" exe="/usr/sbin/nft" key=(null)
type=EXECVE msg=audit(1795179312.000:2): argc=3 a0="nft" a1=61206222 a2_len=210 a2[0]="{long}"
type=EXECVE msg=audit(1795179312.000:2): a2[1]="0123456789"
type=NETFILTER_CFG msg=audit(1795179312.272:3): table=t:2 family=1 entries=1 op=nft_register_table pid=10771 comm="nft"
type=SYSCALL msg=audit(1795179312.272:3): arch=c000003e syscall=46 success=yes exit=80 ppid=10770 pid=10771 auid=1005 uid=0 tty=pts1 ses=4 comm="nft" exe="/usr/sbin/nft" key=(null)
type=PROCTITLE msg=audit(1795179312.272:3): proctitle=6E667400616400
"#
        );
        let mut assembler = Assembler::default();
        for line in log.lines() {
            assembler.push(parse_line(line.as_bytes()).unwrap());
        }
        assert_eq!(assembler.broken, 0);
        let events = assembler.finish();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].background.cmdline, Some(format!("nft\0a b\"\0{long}0123456789").into_bytes()));
    }
}
