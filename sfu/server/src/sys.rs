//! The system calls that the standard library does not wrap. All `unsafe` of this crate is in here.

pub mod interfaces;
pub mod open_files;
pub mod poll;
pub mod udp;

use std::io;

/// The result of a system call: -1 is an error.
fn check<T: PartialEq + From<i8>>(result: T) -> io::Result<T> {
    if result == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(result) }
}
