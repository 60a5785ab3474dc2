//! UDP sockets that send and receive in batches.
//!
//! One `sendmmsg` carries many messages, and each message up to 64 datagrams of one size for one
//! destination, which the kernel splits (generic segmentation offload): most of what a datagram
//! costs is its walk down the stack, and a message walks once.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::check;

/// Longest datagram taken; what is longer is no media of ours and dropped.
pub const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Datagrams taken by one system call.
pub const RECEIVE_BATCH: usize = 64;
/// Messages handed over by one system call.
pub const SEND_BATCH: usize = 64;
/// UDP_MAX_SEGMENTS of the kernel; newer ones take 128.
pub const SEGMENTS_MAX: usize = 64;
/// A message before it is split is an IP packet, whose length has 16 bits.
pub const MESSAGE_BYTES_MAX: usize = 65_000;

/// Room for the two control messages that are used at once, each of at most an int.
const CONTROL_BYTES: usize = 64;
/// Asked for; the kernel may give less (net.core.rmem_max, net.core.wmem_max).
const SOCKET_BUFFER_BYTES: libc::c_int = 4 * 1024 * 1024;

/// A control buffer with the alignment that the kernel's headers need.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
}

impl UdpSocket {
    /// Non-blocking. An IPv6 socket takes no IPv4, so that each family has sockets of its own.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed, and the new descriptor has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
        let mut socket = UdpSocket { fd, local: address };
        if address.is_ipv6() {
            socket.set_option(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        // A smaller buffer is no reason not to start.
        let _ = socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, SOCKET_BUFFER_BYTES);
        let _ = socket.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, SOCKET_BUFFER_BYTES);

        let mut storage = MaybeUninit::zeroed();
        let length = write_socket_address(&mut storage, address);
        // SAFETY: `storage` holds a socket address of `length` bytes.
        check(unsafe { libc::bind(socket.as_raw_fd(), storage.as_ptr().cast(), length) })?;
        let mut length = size_of_val(&storage) as libc::socklen_t;
        // SAFETY: `storage` has room for `length` bytes, which the kernel fills with an address of
        // the family that it states.
        socket.local = unsafe {
            check(libc::getsockname(socket.as_raw_fd(), storage.as_mut_ptr().cast(), &mut length))?;
            read_socket_address(storage.as_ptr().cast()).ok_or(io::ErrorKind::AddrNotAvailable)?
        };
        Ok(socket)
    }

    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Makes [`Datagram::tos`] known.
    pub fn receive_tos(&self) -> io::Result<()> {
        if self.local.is_ipv4() {
            self.set_option(libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
        } else {
            self.set_option(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
        }
    }

    fn set_option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: `value` is valid for `length` bytes during the call.
        let result =
            unsafe { libc::setsockopt(self.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), length) };
        check(result).map(drop)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A datagram in a [`ReceiveBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub source: SocketAddr,
    /// The byte with the DSCP and ECN, if [`UdpSocket::receive_tos`] was called.
    pub tos: Option<u8>,
    pub contents: &'a [u8],
}

/// Buffers for many datagrams, made once.
pub struct ReceiveBatch {
    buffers: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    sources: Box<[MaybeUninit<libc::sockaddr_storage>]>,
    controls: Box<[Control]>,
    headers: Vec<libc::mmsghdr>,
}

impl ReceiveBatch {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        ReceiveBatch {
            buffers: vec![[0; DATAGRAM_BYTES_MAX]; RECEIVE_BATCH].into(),
            sources: vec![MaybeUninit::zeroed(); RECEIVE_BATCH].into(),
            controls: vec![Control([0; CONTROL_BYTES]); RECEIVE_BATCH].into(),
            headers: Vec::with_capacity(RECEIVE_BATCH),
        }
    }

    /// Takes what is there, up to a full batch. [`io::ErrorKind::WouldBlock`]: nothing is there.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.headers.clear();
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; RECEIVE_BATCH];
        for (index, part) in parts.iter_mut().enumerate() {
            let buffer = &mut self.buffers[index];
            let part =
                part.write(libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
            // SAFETY: all fields are numbers or pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = self.sources[index].as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            self.headers.push(header);
        }
        // SAFETY: each header points to a buffer, a source and a control buffer of its own, with
        // their lengths, and all of them outlive the call.
        let count = check(unsafe {
            let headers = self.headers.as_mut_ptr();
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers,
                RECEIVE_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        });
        self.headers.truncate(count.as_ref().map_or(0, |count| *count as usize));
        count.map(|count| count as usize)
    }

    /// What the last call took. None stands for a datagram that was too long.
    pub fn datagrams(&self) -> impl Iterator<Item = Option<Datagram<'_>>> {
        self.headers.iter().enumerate().map(|(index, header)| {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                return None;
            }
            // SAFETY: the kernel has written a source address, whose storage was zeroed before.
            let source = unsafe { read_socket_address(self.sources[index].as_ptr().cast()) }?;
            let contents = self.buffers[index].get(..header.msg_len as usize)?;
            // SAFETY: the control buffer that the header points to is alive with `self`, and the
            // kernel has written control messages of the stated length.
            let tos = unsafe { read_tos(&header.msg_hdr) };
            Some(Datagram { source, tos, contents })
        })
    }
}

/// Datagrams for one destination that walk down the stack together: all of `segment_bytes`, but the
/// last, which may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub destination: SocketAddr,
    /// The byte with the DSCP.
    pub tos: u8,
    pub segment_bytes: usize,
    pub contents: &'a [u8],
}

impl Message<'_> {
    pub fn datagrams(&self) -> usize {
        self.contents.len().div_ceil(self.segment_bytes.max(1))
    }
}

/// Room for the system call's arguments, made once.
pub struct SendBatch {
    parts: Box<[MaybeUninit<libc::iovec>]>,
    destinations: Box<[MaybeUninit<libc::sockaddr_storage>]>,
    controls: Box<[Control]>,
    headers: Vec<libc::mmsghdr>,
}

impl SendBatch {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        SendBatch {
            parts: vec![MaybeUninit::uninit(); SEND_BATCH].into(),
            destinations: vec![MaybeUninit::zeroed(); SEND_BATCH].into(),
            controls: vec![Control([0; CONTROL_BYTES]); SEND_BATCH].into(),
            headers: Vec::with_capacity(SEND_BATCH),
        }
    }

    /// Hands over the first [`SEND_BATCH`] messages; how many the kernel took comes back. An error
    /// is that of the first message.
    pub fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        self.headers.clear();
        for (index, message) in messages.take(SEND_BATCH).enumerate() {
            let contents = message.contents;
            let part = libc::iovec { iov_base: contents.as_ptr().cast_mut().cast(), iov_len: contents.len() };
            // SAFETY: all fields are numbers or pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            let hdr = &mut header.msg_hdr;
            hdr.msg_name = self.destinations[index].as_mut_ptr().cast();
            hdr.msg_namelen = write_socket_address(&mut self.destinations[index], message.destination);
            hdr.msg_iov = self.parts[index].write(part);
            hdr.msg_iovlen = 1;
            hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
            hdr.msg_controllen = CONTROL_BYTES as _;
            let segment_bytes = if message.datagrams() > 1 { message.segment_bytes as u16 } else { 0 };
            // SAFETY: the control buffer that the header points to has CONTROL_BYTES, is aligned, and
            // outlives the call below.
            unsafe { write_control(hdr, message.destination, message.tos, segment_bytes) };
            self.headers.push(header);
        }
        let length = self.headers.len() as libc::c_uint;
        // SAFETY: each header points to its part, which points into the contents of its message, to
        // its destination and its control buffer; all outlive the call, which writes to the headers
        // only.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let result =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), length, flags as _) };
        check(result).map(|count| count as usize)
    }
}

/// Writes the DSCP and, unless it is 0, the length of a segment.
///
/// # Safety
/// `header.msg_control` points to an aligned buffer of `header.msg_controllen` = CONTROL_BYTES.
unsafe fn write_control(header: &mut libc::msghdr, destination: SocketAddr, tos: u8, segment_bytes: u16) {
    let (level, kind) = match destination {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    // SAFETY: two control messages of at most an int each fit into CONTROL_BYTES, so that neither
    // pointer is null and every write stays inside the buffer.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = level;
        (*first).cmsg_type = kind;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as _) as _;
        libc::CMSG_DATA(first).cast::<libc::c_int>().write_unaligned(tos.into());
        let mut length = libc::CMSG_SPACE(size_of::<libc::c_int>() as _);
        if segment_bytes > 0 {
            let second = first.cast::<u8>().add(length as usize).cast::<libc::cmsghdr>();
            (*second).cmsg_level = libc::SOL_UDP;
            (*second).cmsg_type = libc::UDP_SEGMENT;
            (*second).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as _) as _;
            libc::CMSG_DATA(second).cast::<u16>().write_unaligned(segment_bytes);
            length += libc::CMSG_SPACE(size_of::<u16>() as _);
        }
        header.msg_controllen = length as _;
    }
}

/// # Safety
/// `header.msg_control` points to `header.msg_controllen` bytes that the kernel has written.
unsafe fn read_tos(header: &libc::msghdr) -> Option<u8> {
    // SAFETY: the macros stay inside the buffer, and the kernel has written the data of the types
    // that are asked for: a byte for IPv4, an int for IPv6.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = next.as_ref() {
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TOS) => return Some(libc::CMSG_DATA(next).read()),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    return Some(libc::CMSG_DATA(next).cast::<libc::c_int>().read_unaligned() as u8);
                }
                _ => next = libc::CMSG_NXTHDR(header, next),
            }
        }
    }
    None
}

fn write_socket_address(
    storage: &mut MaybeUninit<libc::sockaddr_storage>,
    address: SocketAddr,
) -> libc::socklen_t {
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
pub(super) unsafe fn read_socket_address(address: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: the family says which structure it is.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let raw = &*address.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 => {
                let raw = &*address.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                Some(SocketAddrV6::new(ip, port, 0, raw.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPEDITED: u8 = 46 << 2;

    fn pair(ip: &str) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind(SocketAddr::new(ip.parse().expect("an address"), 0)).expect("bind");
        (bind(), bind())
    }

    fn receive_all(socket: &UdpSocket, count: usize) -> Vec<(SocketAddr, Option<u8>, Vec<u8>)> {
        let mut batch = ReceiveBatch::new();
        let mut received = Vec::new();
        let start = std::time::Instant::now();
        while received.len() < count && start.elapsed().as_secs() < 5 {
            if batch.receive(socket).is_ok() {
                let whole = batch.datagrams().flatten();
                received.extend(whole.map(|d| (d.source, d.tos, d.contents.to_vec())));
            }
        }
        received
    }

    #[test]
    fn groups_arrive_as_single_datagrams_with_their_dscp() {
        for ip in ["127.0.0.1", "::1"] {
            let (sender, receiver) = pair(ip);
            receiver.receive_tos().expect("TOS can be asked for");
            let sizes = [1_200, 1_200, 1_200, 700];
            let segments: Vec<_> = (0u8..).zip(sizes).map(|(fill, size)| vec![fill; size]).collect();
            let (group, single) = (segments.concat(), b"single".to_vec());
            let destination = receiver.local_address();
            let messages = [
                Message { destination, tos: EXPEDITED, segment_bytes: 1_200, contents: &group },
                Message { destination, tos: 0, segment_bytes: 6, contents: &single },
            ];
            let sent = SendBatch::new().send(&sender, messages.into_iter()).expect("loopback takes groups");
            assert_eq!(sent, 2);
            let received = receive_all(&receiver, 5);
            let expected = segments.iter().map(|s| (sender.local_address(), Some(EXPEDITED), s.clone()));
            let last = (sender.local_address(), Some(0), single.clone());
            assert_eq!(received, expected.chain([last]).collect::<Vec<_>>(), "{ip}");
        }
    }

    #[test]
    fn a_datagram_that_is_too_long_is_told_apart() {
        let (sender, receiver) = pair("127.0.0.1");
        let contents = vec![1; DATAGRAM_BYTES_MAX + 1];
        let destination = receiver.local_address();
        let message = Message { destination, tos: 0, segment_bytes: contents.len(), contents: &contents };
        SendBatch::new().send(&sender, [message].into_iter()).expect("send");
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive(&receiver).expect("it is there"), 1);
        assert_eq!(batch.datagrams().collect::<Vec<_>>(), [None]);
        let error = batch.receive(&receiver).expect_err("there is no more");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.datagrams().count(), 0);
    }

    #[test]
    fn both_families_can_have_the_same_port() {
        let v6 = UdpSocket::bind("[::]:0".parse().expect("an address")).expect("IPv6");
        let port = v6.local_address().port();
        UdpSocket::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).expect("IPv4 too");
    }
}
