//! UDP in batches: one system call takes or sends many datagrams, so that a tester is cheap beside
//! what it tests.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

/// Longest datagram that is taken.
pub const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Datagrams by one system call.
pub const BATCH: usize = 64;
/// Asked for; the kernel may give less.
const SOCKET_BUFFER_BYTES: libc::c_int = 4 * 1024 * 1024;
const CONTROL_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// A non-blocking socket whose datagrams bear the kernel's time of arrival.
pub fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    // Smaller buffers are no reason not to start.
    let _ = set_option(&socket, libc::SO_RCVBUF, SOCKET_BUFFER_BYTES);
    let _ = set_option(&socket, libc::SO_SNDBUF, SOCKET_BUFFER_BYTES);
    set_option(&socket, libc::SO_TIMESTAMPNS, 1)?;
    Ok(socket)
}

fn set_option(socket: &UdpSocket, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is valid for `length` bytes during the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, ptr::from_ref(&value).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A datagram in an [`Inbox`].
pub struct Datagram<'a> {
    pub source: SocketAddr,
    /// When the kernel took it, since 1970.
    pub at: Option<Duration>,
    pub contents: &'a mut [u8],
}

/// Room for a batch, made once and used for all sockets of a thread.
pub struct Inbox {
    buffers: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    sources: Box<[MaybeUninit<libc::sockaddr_storage>]>,
    controls: Box<[Control]>,
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    count: usize,
}

// SAFETY: its pointers point into its own boxes, which stay where they are when it moves.
unsafe impl Send for Inbox {}

impl Inbox {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        // SAFETY: all fields are numbers or pointers, for which zero is a value.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let mut inbox = Inbox {
            buffers: vec![[0; DATAGRAM_BYTES_MAX]; BATCH].into(),
            sources: vec![MaybeUninit::zeroed(); BATCH].into(),
            controls: vec![Control([0; CONTROL_BYTES]); BATCH].into(),
            parts: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH].into(),
            headers: vec![header; BATCH].into(),
            // All of them are to be prepared.
            count: BATCH,
        };
        for index in 0..BATCH {
            let base = inbox.buffers[index].as_mut_ptr().cast();
            inbox.parts[index] = libc::iovec { iov_base: base, iov_len: DATAGRAM_BYTES_MAX };
            let header = &mut inbox.headers[index].msg_hdr;
            header.msg_name = inbox.sources[index].as_mut_ptr().cast();
            header.msg_iov = &mut inbox.parts[index];
            header.msg_iovlen = 1;
            header.msg_control = inbox.controls[index].0.as_mut_ptr().cast();
        }
        inbox
    }

    /// Takes what is there, up to a batch. 0: nothing is.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // The kernel has changed those that it used.
        for header in &mut self.headers[..self.count] {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: each header points to a buffer, a source and a control buffer of its own, with their
        // lengths, and all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.count = usize::try_from(count).unwrap_or(0);
        match count {
            0.. => Ok(self.count),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Calls back for each datagram that the last call took, whole ones only.
    pub fn for_each(&mut self, mut take: impl FnMut(Datagram<'_>)) {
        for index in 0..self.count {
            let header = &self.headers[index];
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                continue;
            }
            // SAFETY: the kernel has written a source address, whose storage was zeroed before.
            let source = unsafe { read_address(self.sources[index].as_ptr().cast()) };
            // SAFETY: the control buffer is alive, and the kernel has written its messages.
            let at = unsafe { read_time(&header.msg_hdr) };
            let length = (header.msg_len as usize).min(DATAGRAM_BYTES_MAX);
            if let Some(source) = source {
                take(Datagram { source, at, contents: &mut self.buffers[index][..length] });
            }
        }
    }
}

/// Sends datagrams to one destination; how many the kernel took.
pub fn send_all(socket: &UdpSocket, destination: SocketAddr, datagrams: &[Vec<u8>]) -> io::Result<usize> {
    let mut storage = MaybeUninit::zeroed();
    let length = write_address(&mut storage, destination);
    let mut sent = 0;
    for batch in datagrams.chunks(BATCH) {
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::zeroed() }; BATCH];
        for ((datagram, part), header) in batch.iter().zip(&mut parts).zip(&mut headers) {
            let base = datagram.as_ptr().cast_mut().cast();
            let part = part.write(libc::iovec { iov_base: base, iov_len: datagram.len() });
            // SAFETY: all fields are numbers or pointers, for which zero is a value.
            let header = unsafe { header.assume_init_mut() };
            header.msg_hdr.msg_name = storage.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = length;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each header points to a part, which points to a datagram, and to the destination;
        // all outlive the call, which writes to the headers only.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr().cast(),
                batch.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        sent += count as usize;
    }
    Ok(sent)
}

fn write_address(storage: &mut MaybeUninit<libc::sockaddr_storage>, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large and aligned enough for every kind of socket address.
            unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in>().write(raw) };
            size_of_val(&raw) as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { storage.as_mut_ptr().cast::<libc::sockaddr_in6>().write(raw) };
            size_of_val(&raw) as libc::socklen_t
        }
    }
}

/// None: it is of another family.
///
/// # Safety
/// `address` points to a socket address of the family that it states.
unsafe fn read_address(address: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: the family says which structure it is.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let raw = &*address.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::from((ip, u16::from_be(raw.sin_port))))
            }
            libc::AF_INET6 => {
                let raw = &*address.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                Some(SocketAddr::from((ip, u16::from_be(raw.sin6_port))))
            }
            _ => None,
        }
    }
}

/// # Safety
/// `header.msg_control` points to `header.msg_controllen` bytes that the kernel has written.
unsafe fn read_time(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the macros stay inside the buffer, and the kernel has written data of the type asked for.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let time = libc::CMSG_DATA(next).cast::<libc::timespec>().read_unaligned();
                return Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participant::payload::wall_clock;

    #[test]
    fn batches_arrive_whole_in_order_and_with_their_time() {
        for ip in ["127.0.0.1", "::1"] {
            let ip = ip.parse().expect("an address");
            let (sender, receiver) = (bind(ip).expect("loopback"), bind(ip).expect("loopback"));
            let sent: Vec<Vec<u8>> = (0..100_u8).map(|fill| vec![fill; 1_200]).collect();
            let destination = receiver.local_addr().expect("it is bound");
            let before = wall_clock();
            assert_eq!(send_all(&sender, destination, &sent).expect("loopback takes it"), 100);
            let mut inbox = Inbox::new();
            let mut received = Vec::new();
            while received.len() < sent.len() {
                assert!(wall_clock() < before + Duration::from_secs(5), "{} came", received.len());
                inbox.receive(&receiver).expect("loopback gives it");
                inbox.for_each(|datagram| {
                    assert_eq!(datagram.source, sender.local_addr().expect("it is bound"));
                    assert!((before..=wall_clock()).contains(&datagram.at.expect("it was asked for")));
                    received.push(datagram.contents.to_vec());
                });
            }
            assert_eq!(received, sent);
            assert_eq!(inbox.receive(&receiver).expect("nothing is no error"), 0);
        }
    }
}
