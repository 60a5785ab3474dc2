//! What the kernel knows of processes and of the machine.

use std::fs;
use std::io;
use std::time::Duration;

/// The clock of a process's processor time, in nanoseconds and not in ticks.
#[derive(Debug, Clone, Copy)]
pub struct ProcessClock(libc::clockid_t);

impl ProcessClock {
    pub fn of(process: u32) -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: `clock` is written to during the call only.
        match unsafe { libc::clock_getcpuclockid(process as libc::pid_t, &mut clock) } {
            0 => Ok(ProcessClock(clock)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Of the calling thread.
    pub fn of_thread() -> Self {
        ProcessClock(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    /// Spent in user space and in the kernel by all threads, those that ended included.
    pub fn time(self) -> io::Result<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is written to during the call only.
        match unsafe { libc::clock_gettime(self.0, &mut time) } {
            0 => Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Memory that a process has.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What all processors did since the machine started, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticks {
    pub total: u64,
    /// The host gave them to others.
    pub stolen: u64,
}

impl Ticks {
    pub fn now() -> io::Result<Ticks> {
        Ok(Ticks::parse(&fs::read_to_string("/proc/stat")?))
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
    fn parse(stat: &str) -> Ticks {
        let first = stat.lines().next().unwrap_or("");
        let ticks: Vec<u64> = first.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        Ticks { total: ticks.iter().sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
    }

    /// Share that was stolen since `earlier`, 0 to 1.
    pub fn stolen_since(self, earlier: Ticks) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / total as f64
    }
}

/// Lets this process open as many files and sockets as it may.
pub fn raise_open_files() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is written to and read during the calls only.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps a process, or with 0 the calling thread, on one processor.
pub fn pin(process: u32, processor: usize) -> io::Result<()> {
    // SAFETY: a set of processors is numbers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set has room for the processors that the kernel has; more are ignored.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the set is read during the call only.
    match unsafe { libc::sched_setaffinity(process as libc::pid_t, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_process_counts_work_and_not_time() {
        let clock = ProcessClock::of(std::process::id()).expect("this process is there");
        let before = clock.time().expect("it can be read");
        let work = (0..2_000_000_u64)
            .fold(0, |sum: u64, number| sum.wrapping_mul(31) ^ std::hint::black_box(number));
        std::hint::black_box(work);
        assert!(clock.time().expect("it can be read") > before);
        // One above the highest that the kernel gives (PID_MAX_LIMIT).
        assert!(ProcessClock::of((1 << 22) + 1).is_err());
    }

    #[test]
    fn stolen_time_is_the_eighth_number() {
        let before = Ticks::parse("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1\n");
        let after = Ticks::parse("cpu  60 0 10 70 0 0 0 60 9 0\n");
        assert_eq!((before.total, before.stolen), (100, 10));
        assert!((after.stolen_since(before) - 0.5).abs() < 1e-9);
        assert!(resident_bytes(std::process::id()).expect("this process is there") > 100_000);
    }
}
