//! How many files, which sockets are too, this process may have open.

use std::io;
use std::mem::MaybeUninit;

use super::check;

/// Raises the limit as far as it goes without privileges. Most systems start programs with 1,024 for
/// the sake of `select`, which nothing here uses, and a meeting takes one for each connection. Gives
/// the limit.
pub fn raise_limit() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the call writes one `rlimit`, and it is read only after the call has succeeded.
    let mut limit = unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()))?;
        limit.assume_init()
    };
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the call reads one `rlimit`, which lives until it returns.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_from_where_it_was_lowered() {
        let before = raise_limit().expect("raised");
        let lower = libc::rlimit { rlim_cur: before - 1, rlim_max: before };
        // SAFETY: as above.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &lower) }).expect("lowered");
        assert_eq!(raise_limit().expect("raised again"), before);
    }
}
