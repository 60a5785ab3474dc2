//! Waiting: epoll with time-outs finer than a millisecond, and a wake-up from another thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::check;

/// Events taken at once; the others come with the next wait.
const EVENTS_MAX: usize = 256;

/// Level-triggered epoll.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// Kernels before 5.11 and some container sandboxes lack `epoll_pwait2`; they get milliseconds.
    fine: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed, and the new descriptor has no other owner.
        let epoll = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Poller { epoll, events: Vec::with_capacity(EVENTS_MAX), fine: true })
    }

    /// Watches for input. The caller removes the descriptor before it closes it.
    pub fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), token, false)
    }

    /// Watches for input, and for room to write if `writable`.
    pub fn modify(&self, fd: &impl AsRawFd, token: u64, writable: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), token, writable)
    }

    pub fn remove(&self, fd: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, false)
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64, writable: bool) -> io::Result<()> {
        let interest = libc::EPOLLIN | if writable { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        // SAFETY: `event` is valid for the call; the kernel checks both descriptors.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }

    /// Waits for an event, at most for `timeout`. Returns early when a signal comes.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = Event> + '_> {
        let count = match self.wait_raw(timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        // SAFETY: the kernel has written `count` events, at most as many as there is room for.
        unsafe { self.events.set_len(count) };
        let (input, output) = (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR, libc::EPOLLOUT);
        Ok(self.events.iter().map(move |event| {
            let (flags, token) = (event.events as i32, event.u64);
            Event { token, readable: flags & input != 0, writable: flags & output != 0 }
        }))
    }

    fn wait_raw(&mut self, timeout: Duration) -> io::Result<usize> {
        self.events.clear();
        let (epoll, events) = (self.epoll.as_raw_fd(), self.events.as_mut_ptr());
        if self.fine {
            let timeout = libc::timespec {
                tv_sec: timeout.as_secs().min(3_600) as libc::time_t,
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // SAFETY: `events` has room for EVENTS_MAX events, `timeout` is valid for the call, and
            // a null signal mask changes none.
            let result = check(unsafe {
                let mask = std::ptr::null::<libc::sigset_t>();
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    epoll,
                    events,
                    EVENTS_MAX as i32,
                    &timeout,
                    mask,
                    0usize,
                )
            });
            match result.as_ref().map_err(io::Error::raw_os_error) {
                Err(Some(libc::ENOSYS | libc::EPERM)) => self.fine = false,
                _ => return result.map(|count| count as usize),
            }
        }
        let timeout_ms = timeout.as_micros().div_ceil(1_000).min(3_600_000) as i32;
        // SAFETY: `events` has room for EVENTS_MAX events.
        check(unsafe { libc::epoll_wait(epoll, events, EVENTS_MAX as i32, timeout_ms) })
            .map(|count| count as usize)
    }
}

/// Wakes a [`Poller`] from any thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<File>);

impl Waker {
    pub fn new() -> io::Result<Self> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: no memory is passed, and the new descriptor has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, flags))?) };
        Ok(Waker(Arc::new(File::from(fd))))
    }

    pub fn wake(&self) {
        // A counter that is full already wakes as well.
        let _ = (&*self.0).write(&1u64.to_ne_bytes());
    }

    pub fn reset(&self) {
        let _ = (&*self.0).read(&mut [0; 8]);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_lasts_its_time_and_no_event_comes_of_it() {
        for fine in [true, false] {
            let mut poller = Poller { fine, ..Poller::new().expect("epoll") };
            let timeout = Duration::from_micros(300);
            let start = Instant::now();
            assert_eq!(poller.wait(timeout).expect("wait").count(), 0);
            assert!(start.elapsed() >= timeout);
        }
    }

    #[test]
    fn a_waker_wakes_until_it_is_reset() {
        let mut poller = Poller::new().expect("epoll");
        let waker = Waker::new().expect("eventfd");
        poller.add(&waker, 7).expect("add");
        std::thread::spawn({
            let waker = waker.clone();
            move || waker.wake()
        });
        let events: Vec<_> = poller.wait(Duration::from_secs(10)).expect("wait").collect();
        assert_eq!(events, [Event { token: 7, readable: true, writable: false }]);
        waker.reset();
        assert_eq!(poller.wait(Duration::ZERO).expect("wait").count(), 0);
    }
}
