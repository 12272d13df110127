//! What this process has cost so far (getrusage(2)).

use std::time::Duration;

/// Processor time of this process, all its threads, and the children that it has waited for.
pub fn processor_time() -> Duration {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].into_iter().map(of).sum()
}

fn of(who: libc::c_int) -> Duration {
    // SAFETY: the structure is plain numbers, for which zeros are valid, and the call fills it; it fails only for a `who`
    // that does not exist.
    #[allow(unsafe_code)]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let time = |part: libc::timeval| {
        Duration::from_secs(part.tv_sec.unsigned_abs()) + Duration::from_micros(part.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_and_sleep_is_not() {
        let before = processor_time();
        std::thread::sleep(Duration::from_millis(1));
        let mut sum = 0u64;
        while processor_time() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(processor_time() - before < Duration::from_secs(60));
    }
}
