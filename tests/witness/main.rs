//! Who made generation G, against this machine's kernel: real nft in network namespaces of their own, real audit
//! records, the real process connector, real logins (`/proc/self/loginuid`). Needs root in the first namespaces.
//! Auditing is turned on through the guard and put back; where a test needs it off, it keeps others from turning it on.

mod auditing;
mod identity;
mod ladder;
mod support;
mod surroundings;
mod trouble;
