//! What a process costs, as the kernel accounts for it.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// On all processors, in user space and in the kernel.
    pub cpu: Duration,
    /// Memory that it has, in bytes.
    pub resident_bytes: u64,
}

impl Usage {
    /// None: no such process.
    pub fn of(process: u32) -> Option<Usage> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Usage { cpu: cpu(&stat, ticks_per_second())?, resident_bytes: resident_bytes(&status)? })
    }

    pub fn of_this_process() -> Option<Usage> {
        Usage::of(std::process::id())
    }
}

fn ticks_per_second() -> u64 {
    // SAFETY: it only reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64
}

/// proc(5): utime and stime are fields 14 and 15; the name before them may have spaces.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = times.next()?? + times.next()??;
    Some(Duration::from_nanos(ticks * 1_000_000_000 / ticks_per_second))
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "17 (a (b) c) S 1 17 17 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 9 0 12345 1 2 3";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_some() {
        assert!(Usage::of_this_process().is_some_and(|usage| usage.resident_bytes > 100_000));
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
