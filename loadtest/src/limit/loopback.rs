//! The cheapest ways to hand datagrams to the kernel, over loopback.
//!
//! Everything that the system calls read is set up once, so that they are all that is measured.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Datagrams of one system call.
pub(super) const BATCH: usize = 64;
/// As many destinations, each with keys of its own, as many subscribers share a worker.
pub(super) const RECEIVERS: usize = 32;

/// One sending socket and [`RECEIVERS`] receiving ones.
pub(super) struct Loopback {
    sender: UdpSocket,
    receivers: Vec<UdpSocket>,
    addresses: Vec<libc::sockaddr_in>,
}

impl Loopback {
    pub(super) fn new() -> io::Result<Self> {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let receivers = (0..RECEIVERS).map(|_| bind()).collect::<io::Result<Vec<_>>>()?;
        receivers.iter().try_for_each(|receiver| receiver.set_nonblocking(true))?;
        let addresses = receivers.iter().map(|receiver| Ok(socket_address(receiver.local_addr()?)));
        let addresses = addresses.collect::<io::Result<_>>()?;
        Ok(Loopback { sender: bind()?, receivers, addresses })
    }

    /// From now on the kernel drops what comes, at the socket. A few datagrams still find room.
    pub(super) fn stop_receiving(&self) -> io::Result<()> {
        let bytes: libc::c_int = 1;
        for receiver in &self.receivers {
            // SAFETY: `bytes` is valid for its length during the call.
            let result = unsafe {
                libc::setsockopt(
                    receiver.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_RCVBUF,
                    ptr::from_ref(&bytes).cast(),
                    size_of_val(&bytes) as libc::socklen_t,
                )
            };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Sends each datagram of `slab` with a system call of its own.
    pub(super) fn send_each(&self, slab: &[u8], datagram_bytes: usize) -> io::Result<()> {
        for (index, datagram) in slab.chunks_exact(datagram_bytes).enumerate() {
            let address = &self.addresses[index % RECEIVERS];
            // SAFETY: the datagram and the address are valid for their lengths during the call.
            let sent = unsafe {
                libc::sendto(
                    self.sender.as_raw_fd(),
                    datagram.as_ptr().cast(),
                    datagram.len(),
                    0,
                    ptr::from_ref(address).cast(),
                    size_of_val(address) as libc::socklen_t,
                )
            };
            if sent < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Takes from all receivers what has come, and returns how many datagrams that were.
    pub(super) fn drain(&self) -> io::Result<usize> {
        let (mut count, mut start) = (0, [0; 1]);
        for receiver in &self.receivers {
            loop {
                // The rest of the datagram is discarded.
                match receiver.recv(&mut start) {
                    Ok(_) => count += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(count)
    }
}

fn socket_address(address: SocketAddr) -> libc::sockaddr_in {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut raw: libc::sockaddr_in = unsafe { mem::zeroed() };
    raw.sin_family = libc::AF_INET as libc::sa_family_t;
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    raw
}

/// Room for one control message, with the alignment that the kernel's headers need.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// [`BATCH`] datagrams for one `sendmmsg`, in messages of a fixed number of segments. Each message
/// goes to the next receiver.
pub(super) struct Batch<'a> {
    loopback: &'a Loopback,
    datagram_bytes: usize,
    slab: Vec<u8>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Of the first message.
    receiver: usize,
    /// Says how long a segment is. All messages share it.
    _control: Box<Control>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(loopback: &'a Loopback, datagram_bytes: usize, segments: usize) -> Self {
        let mut slab = vec![0x80; BATCH * datagram_bytes];
        let messages = slab.chunks_mut(segments * datagram_bytes);
        let mut parts: Vec<_> = messages
            .map(|message| libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() })
            .collect();
        let (mut control, control_bytes) = segment_control(datagram_bytes as u16);
        let header = |part: &mut libc::iovec| {
            // SAFETY: all fields are numbers or pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            if segments > 1 {
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = control_bytes as _;
            }
            header
        };
        let headers = parts.iter_mut().map(header).collect();
        Batch { loopback, datagram_bytes, slab, parts, headers, receiver: 0, _control: control }
    }

    /// Each message, with the receiver that it goes to next.
    pub(super) fn messages(&mut self) -> impl Iterator<Item = (usize, &mut [u8])> {
        let (first, message_bytes) = (self.receiver, self.slab.len() / self.parts.len());
        let messages = self.slab.chunks_exact_mut(message_bytes).enumerate();
        messages.map(move |(index, message)| ((first + index) % RECEIVERS, message))
    }

    pub(super) fn datagram_bytes(&self) -> usize {
        self.datagram_bytes
    }

    pub(super) fn slab(&self) -> &[u8] {
        &self.slab
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        for header in &mut self.headers {
            let address = &self.loopback.addresses[self.receiver % RECEIVERS];
            header.msg_hdr.msg_name = ptr::from_ref(address).cast_mut().cast();
            self.receiver += 1;
        }
        let (mut sent, count) = (0, self.headers.len());
        while sent < count {
            let rest = &mut self.headers[sent..];
            // SAFETY: every header points to a part of the slab, to an address of `loopback` and to
            // the control message, with their lengths. They are neither moved nor freed before
            // `self` is, and nobody else uses the slab during the call.
            let result = unsafe {
                let socket = self.loopback.sender.as_raw_fd();
                libc::sendmmsg(socket, rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
            };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
            sent += result as usize;
        }
        Ok(())
    }
}

/// The control message that has the kernel split a message, and its length.
fn segment_control(segment_bytes: u16) -> (Box<Control>, usize) {
    let mut control = Box::new(Control([0; 64]));
    // SAFETY: the buffer is aligned as the header is, and has room for it and two bytes.
    unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        let first = libc::CMSG_FIRSTHDR(&header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = libc::UDP_SEGMENT;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment_bytes);
        (control, libc::CMSG_SPACE(size_of::<u16>() as u32) as usize)
    }
}
