//! The system calls of a packet socket: opening, the ring, the kernel's counters. All of the unsafe code of live capture
//! but for the change of user, in small functions.
//!
//! Of `packet(7)` with `TPACKET_V3`: the kernel fills blocks of shared memory and hands each over when it is full or 50 ms
//! old; a block that we have is ours alone until we hand it back. By hand over `libc`, since the crates that know this
//! ring want a C library or an async runtime.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::filter::Instruction;

/// After so long the kernel hands over a block that is not full.
const PATIENCE_MS: c_uint = 50;
/// What a header, alignment and the block's own descriptor take, generously.
const OVERHEAD: u32 = 512;
/// Bytes of a page, which blocks consist of.
const PAGE: u32 = 4096;
const SMALLEST_BLOCK: u32 = 64 << 10;

/// What packets come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// As they were on the wire.
    Link,
    /// From the network header on.
    Network,
}

/// Opens a packet socket that receives nothing yet.
pub(super) fn open(header: Header) -> io::Result<OwnedFd> {
    let kind = match header {
        Header::Link => libc::SOCK_RAW,
        Header::Network => libc::SOCK_DGRAM,
    };
    // SAFETY: numbers only; protocol 0 receives nothing.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: it was just opened, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the socket receive the packets of an interface, 0 for all, from now on.
pub(super) fn bind(fd: &OwnedFd, interface: u32) -> io::Result<()> {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface as c_int;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a `sockaddr_ll` that lives through the call, and `length` is its size.
    checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
}

/// Puts a filter in place of the one before, in one step.
pub(super) fn attach(fd: &OwnedFd, program: &[Instruction]) -> io::Result<()> {
    let convert = |i: &Instruction| libc::sock_filter { code: i.code, jt: i.yes, jf: i.no, k: i.k };
    let mut program: Vec<libc::sock_filter> = program.iter().map(convert).collect();
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // `program.filter` points into the vector above, which lives until the end of this function.
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Has the interface take all packets that pass, for as long as the socket is open.
pub(super) fn promiscuous(fd: &OwnedFd, interface: u32) -> io::Result<()> {
    let kind = libc::PACKET_MR_PROMISC as u16;
    let membership =
        libc::packet_mreq { mr_ifindex: interface as c_int, mr_type: kind, mr_alen: 0, mr_address: [0; 8] };
    set(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// Joins the sockets of a group, among which the kernel shares out packets by flow; `None` makes a new group. Returns the
/// group.
pub(super) fn join(fd: &OwnedFd, group: Option<u16>) -> io::Result<u16> {
    let flags = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
    let kind = libc::PACKET_FANOUT_HASH | flags;
    set(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &(kind << 16 | u32::from(group.unwrap_or_default())))?;
    Ok(get::<u32>(fd, libc::SOL_PACKET, libc::PACKET_FANOUT)? as u16)
}

/// Returns how many packets the kernel dropped since the last call, for want of room in the ring.
pub(super) fn drops(fd: &OwnedFd) -> io::Result<u64> {
    let [_, drops, _] = get::<[u32; 3]>(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
    Ok(drops.into())
}

/// Takes the error that the socket holds, such as that its interface went down.
pub(super) fn take_error(fd: &OwnedFd) -> io::Result<Option<io::Error>> {
    let code = get::<c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
    Ok((code != 0).then(|| io::Error::from_raw_os_error(code)))
}

/// What an interface is, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Its kind (`ARPHRD_...`).
    pub(super) hardware: u16,
    pub(super) is_up: bool,
}

/// Asks what the interface of this name is.
pub(super) fn traits(fd: &OwnedFd, name: &str) -> io::Result<Traits> {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero: it ends the name.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mut ask = |what| {
        // SAFETY: both requests read and write an `ifreq`, which lives through the call.
        checked(unsafe { libc::ioctl(fd.as_raw_fd(), what, &raw mut request) })?;
        Ok::<_, io::Error>(request.ifr_ifru)
    };
    // SAFETY: the kernel has written this member, and every bit pattern is a number.
    let hardware = unsafe { ask(libc::SIOCGIFHWADDR)?.ifru_hwaddr.sa_family };
    // SAFETY: likewise.
    let flags = unsafe { ask(libc::SIOCGIFFLAGS)?.ifru_flags };
    Ok(Traits { hardware, is_up: c_int::from(flags) & libc::IFF_UP != 0 })
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set<T>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes from a value that lives through the call; what an option points to is its
    // caller's part, who says so.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), length) }).map(drop)
}

/// Values of which every bit pattern is one.
trait Plain: Copy + Default {}
impl Plain for u32 {}
impl Plain for c_int {}
impl Plain for [u32; 3] {}

fn get<T: Plain>(fd: &OwnedFd, level: c_int, name: c_int) -> io::Result<T> {
    let (mut value, mut length) = (T::default(), size_of::<T>() as libc::socklen_t);
    let (place, size) = ((&raw mut value).cast(), &raw mut length);
    // SAFETY: the kernel writes at most `length` bytes into a value of that size, of which every bit pattern is one.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, size) })?;
    Ok(value)
}

/// The blocks that a socket's packets come in. One thread reads them, in their order.
pub(super) struct Ring {
    memory: NonNull<c_void>,
    block_bytes: usize,
    blocks: usize,
    next: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only `&mut self` reads it.
unsafe impl Send for Ring {}

impl Ring {
    /// Gives a socket a ring of about so many bytes whose blocks have room for packets of `snap_length`.
    pub(super) fn open(fd: &OwnedFd, bytes: u64, snap_length: u32) -> io::Result<Self> {
        let block = (snap_length + OVERHEAD).next_power_of_two().max(SMALLEST_BLOCK);
        let blocks = u32::try_from(bytes / u64::from(block)).map_err(|_| io::ErrorKind::InvalidInput)?.max(2);
        // SAFETY: all zeros is a valid value of this plain structure.
        let mut request: libc::tpacket_req3 = unsafe { zeroed() };
        request.tp_block_size = block;
        request.tp_block_nr = blocks;
        // Frames have no fixed size in this version; the kernel only checks that the numbers fit together.
        request.tp_frame_size = PAGE;
        request.tp_frame_nr = block / PAGE * blocks;
        request.tp_retire_blk_tov = PATIENCE_MS;
        set(fd, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))?;
        set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (block_bytes, blocks) = (block as usize, blocks as usize);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, at an address of the kernel's choice, of the ring that was just made, in its size.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), block_bytes * blocks, access, flags, fd.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, block_bytes, blocks, next: 0 })
    }

    /// Reads the next block if the kernel has handed it over, and hands it back; returns whether it had.
    pub(super) fn read(&mut self, look: impl FnOnce(&[u8])) -> bool {
        let begin = self.next * self.block_bytes;
        // SAFETY: `next` is below `blocks`, so the block lies in the mapping, which lives as long as `self`.
        let block = unsafe { self.memory.cast::<u8>().add(begin) };
        // SAFETY: the status is the third word of a block, which begins at a page; the kernel and we touch it atomically.
        let status = unsafe { AtomicU32::from_ptr(block.cast::<u32>().add(2).as_ptr()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: the kernel writes nothing into a block from when it hands it over until we hand it back, below, when the
        // slice is gone; the status itself is read by nobody through it.
        look(unsafe { std::slice::from_raw_parts(block.as_ptr(), self.block_bytes) });
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.blocks;
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: our own mapping, in its size, and nobody has a reference into it. It fails for no valid mapping.
        unsafe { libc::munmap(self.memory.as_ptr(), self.block_bytes * self.blocks) };
    }
}
