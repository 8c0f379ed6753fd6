//! Gives up what a capture needed to open, for good.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::zeroed;
use std::ptr;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::error::{Error, ErrorKind};

/// Room for the texts of an entry of the user database.
const MAX_ENTRY: usize = 64 << 10;

/// Becomes `user` if this process is root, keeps no capability, and can never get one again.
///
/// Call it after every capture is open ([`Live::open`](super::Live::open)) and before threads are started: capabilities
/// belong to threads, and only a change of user reaches all of them. Open captures go on; files and databases that are
/// opened later must be accessible to that user. Root without a `user` stays root, but without any capability: it can
/// still write what belongs to root.
///
/// # Errors
/// [`ErrorKind::Configuration`] for a user that is not known, is root, or that this process may not become;
/// [`ErrorKind::System`] when the system refuses something, or when another thread still has a capability. The process
/// may have given up a part then, and should end.
pub fn drop_privileges(user: Option<&str>) -> Result<(), Error> {
    let failed = |what: &str, error: io::Error| Error::new(ErrorKind::System, what).because(error);
    let wrong = |text: String| Error::new(ErrorKind::Configuration, text);
    let now = rustix::process::geteuid();
    if let Some(name) = user {
        let Some(identity) = look_up(name).map_err(|error| failed("look up the user to become", error))? else {
            return Err(wrong(format!("no user is named {name:?}")));
        };
        if identity.user == 0 {
            return Err(wrong(format!("the user {name:?} is root, and has every privilege; name another")));
        }
        if now.is_root() {
            become_user(&identity).map_err(|error| failed(&format!("become the user {name:?}"), error))?;
        } else if now.as_raw() != identity.user {
            return Err(wrong(format!("only root can become the user {name:?}")));
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_no_new_privs(true).map_err(|error| failed("forbid new privileges", error.into()))?;
    set_capabilities(None, none).map_err(|error| failed("give up all capabilities", error.into()))?;
    if thread_with_capabilities().map_err(|error| failed("look at the capabilities of threads", error))? {
        let text = "a thread that was started before keeps its capabilities; give up privileges before starting any";
        return Err(Error::new(ErrorKind::System, text));
    }
    Ok(())
}

struct Identity {
    name: CString,
    user: libc::uid_t,
    group: libc::gid_t,
}

fn look_up(name: &str) -> io::Result<Option<Identity>> {
    let name = CString::new(name)?;
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut entry: libc::passwd = unsafe { zeroed() };
    let mut texts = vec![0; MAX_ENTRY];
    let mut found = ptr::null_mut();
    // SAFETY: the name ends with zero, the room is as long as it is said to be, and all of it lives through the call.
    let code =
        unsafe { libc::getpwnam_r(name.as_ptr(), &raw mut entry, texts.as_mut_ptr(), texts.len(), &raw mut found) };
    match code {
        0 if found.is_null() => Ok(None),
        0 => Ok(Some(Identity { name, user: entry.pw_uid, group: entry.pw_gid })),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Groups first: who is no longer root cannot change them. The C library does each for all threads.
fn become_user(Identity { name, user, group }: &Identity) -> io::Result<()> {
    let checked = |code| if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: the name ends with zero and lives through the call.
    checked(unsafe { libc::initgroups(name.as_ptr(), *group) })?;
    // SAFETY: numbers only.
    checked(unsafe { libc::setresgid(*group, *group, *group) })?;
    // SAFETY: numbers only.
    checked(unsafe { libc::setresuid(*user, *user, *user) })
}

fn thread_with_capabilities() -> io::Result<bool> {
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread that has ended meanwhile has none.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        let mut sets = status.lines().filter_map(|line| {
            let (name, set) = line.split_once(':')?;
            ["CapPrm", "CapEff"].contains(&name).then_some(set.trim())
        });
        if sets.any(|set| set.bytes().any(|digit| digit != b'0')) {
            return Ok(true);
        }
    }
    Ok(false)
}
