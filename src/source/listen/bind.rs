//! Opens sockets to listen on. Separate from reading them, so that a port below 1024 can be opened before privileges are
//! dropped, and so that a wrong address shows at once.
//!
//! A Unix socket never stands open for others, not for a moment: its mode is set before it gets its name (the kernel takes
//! it from the socket's own inode, less the umask), and widened afterwards if the umask took something away. What a
//! killed process left behind is replaced; a socket that somebody listens on, and whatever is no socket, is refused. The
//! directory is locked meanwhile, so that of two processes that start at once one is refused, instead of losing its name
//! to the other.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};

use super::address::Listen;
use crate::config::Bytes;
use crate::error::{Error, ErrorKind};

/// Connections that wait in the kernel to be taken, as far as `net.core.somaxconn` allows: all sensors may come back at
/// once, and who finds no room waits a second and more.
const BACKLOG: i32 = 4096;
/// How often, and after what time, the lock on the directory is tried again.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Open sockets.
pub(super) enum Bound {
    Unix(UnixListener, SocketFile),
    Unixgram(UnixDatagram, SocketFile),
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// The name of a Unix socket; goes with it, unless somebody else has put another one there.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // A name that stays is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the address.
pub(super) fn open(address: &Listen, mode: u32, receive_buffer: Option<Bytes>) -> Result<Bound, Error> {
    let opened = match address {
        Listen::Unix(path) => {
            unix(path, mode, SocketType::STREAM).map(|(socket, file)| Bound::Unix(UnixListener::from(socket), file))
        }
        Listen::Unixgram(path) => {
            unix(path, mode, SocketType::DGRAM).map(|(socket, file)| Bound::Unixgram(UnixDatagram::from(socket), file))
        }
        Listen::Tcp(address) => tcp(*address).map(Bound::Tcp),
        Listen::Udp(address) => {
            UdpSocket::bind(address).and_then(|socket| socket.set_nonblocking(true).map(|()| Bound::Udp(socket)))
        }
    };
    let bound = opened.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::AddrInUse => ErrorKind::InUse,
            _ => ErrorKind::System,
        };
        let advice = match (error.kind(), address) {
            (io::ErrorKind::PermissionDenied, Listen::Unix(_) | Listen::Unixgram(_)) => {
                "; let the user of this program read and write the directory, and enter those above it"
            }
            (io::ErrorKind::PermissionDenied, Listen::Tcp(_) | Listen::Udp(_)) => {
                "; a port below 1024 needs the capability CAP_NET_BIND_SERVICE"
            }
            _ => "",
        };
        Error::new(kind, format!("listen on {address}{advice}")).because(error)
    })?;
    if let Some(size) = receive_buffer {
        widen(&bound, address, size);
    }
    Ok(bound)
}

/// Asks for a receive buffer; the kernel gives what `net.core.rmem_max` allows, or with CAP_NET_ADMIN all of it.
fn widen(bound: &Bound, address: &Listen, size: Bytes) {
    let set = |socket: &OwnedFd| {
        let forced = sockopt::set_socket_recv_buffer_size_force(socket, size.as_usize());
        forced.or_else(|_| sockopt::set_socket_recv_buffer_size(socket, size.as_usize()))?;
        // The kernel counts its own overhead and tells twice what was asked for (socket(7)).
        sockopt::socket_recv_buffer_size(socket).map(|given| given / 2)
    };
    let duplicate = match bound {
        Bound::Udp(socket) => socket.try_clone().map(OwnedFd::from),
        Bound::Unixgram(socket, _) => socket.try_clone().map(OwnedFd::from),
        Bound::Unix(..) | Bound::Tcp(_) => return,
    };
    match duplicate.and_then(|socket| Ok(set(&socket)?)) {
        Ok(given) if given >= size.as_usize() => {}
        Ok(given) => {
            tracing::warn!(%address, %size, given, "receive buffer is smaller; raise sysctl net.core.rmem_max")
        }
        Err(error) => tracing::warn!(%address, %size, %error, "receive buffer cannot be set"),
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // Once more, since the first time the standard library chose the backlog.
    listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn unix(path: &Path, mode: u32, kind: SocketType) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let _locked = lock(path.parent().unwrap_or(Path::new("/")))?;
    make_room(path, || Ok(connect(&socket_with(AddressFamily::UNIX, kind, flags, None)?, &address)?))?;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    bind(&socket, &address)?;
    let file = SocketFile { path: path.to_owned(), inode: inode(path)? };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok((socket, file))
}

/// Deletes a socket that nobody listens on.
fn make_room(path: &Path, try_it: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why.to_owned()));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => return in_use("there is a file, and it is no socket"),
        Ok(_) => {}
    }
    match try_it() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            in_use("there is a socket, and whether somebody listens on it cannot be tried")
        }
        _ => in_use("another process listens there"),
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_WAIT),
            answer => return answer.map(|()| file).map_err(Into::into),
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "another process holds a lock on the directory"))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_at(path: &Path, mode: u32) -> Result<Bound, Error> {
        open(&Listen::Unix(path.to_owned()), mode, None)
    }

    #[test]
    fn a_socket_has_its_mode_and_its_name_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [("a", 0o600), ("b", 0o660)] {
            let path = directory.path().join(name);
            let bound = open_at(&path, mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let bound = open_at(&path, 0o600).unwrap();
        assert_eq!(open_at(&path, 0o600).err().unwrap().kind(), ErrorKind::InUse, "live");
        assert!(path.exists(), "and it stays");
        assert!(open(&Listen::Unixgram(path.clone()), 0o600, None).is_err(), "live, of the other kind");
        drop(bound);
        fs::write(&path, "precious").unwrap();
        assert_eq!(open_at(&path, 0o600).err().unwrap().kind(), ErrorKind::InUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_successors_socket_is_not_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let bound = open_at(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
        drop(successor);
    }

    #[test]
    fn of_many_that_start_at_once_over_a_stale_socket_one_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        drop(UnixListener::bind(&path).unwrap());
        let open = || {
            (0..8).map(|_| {
                std::thread::spawn({
                    let path = path.clone();
                    move || open_at(&path, 0o600).ok()
                })
            })
        };
        let threads: Vec<_> = open().collect();
        let opened: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(opened.len(), 1);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }
}
