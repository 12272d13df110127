//! BPF programs and where they are attached, by the bpf(2) system call.
//!
//! Role: the few commands that list what is there. Structures are those of linux/bpf.h, at byte offsets, as the
//! kernel takes any length of them: what an older kernel does not know must be zero, and is. Nothing is loaded
//! or attached by looking; [`load`] and [`attach`] are for tests, which need something to look at.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// `enum bpf_cmd`.
const PROG_LOAD: libc::c_long = 5;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const LINK_CREATE: libc::c_long = 28;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// `BPF_LINK_TYPE_NETFILTER`.
const LINK_TYPE_NETFILTER: u32 = 10;

/// Where programs can be attached that are asked for by place (`enum bpf_attach_type`).
pub mod hook {
    /// `BPF_SK_LOOKUP`, of a network namespace.
    pub const SK_LOOKUP: u32 = 36;
    /// `BPF_NETFILTER`, by links only.
    pub const NETFILTER: u32 = 45;
    /// `BPF_TCX_INGRESS`, of an interface.
    pub const TCX_INGRESS: u32 = 46;
    /// `BPF_TCX_EGRESS`, of an interface.
    pub const TCX_EGRESS: u32 = 47;
}

/// What names a program in a way that survives loading it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// At most 15 bytes, as whoever loaded it chose; may be empty.
    pub name: Vec<u8>,
    /// The kernel's digest of the instructions, without what maps they use.
    pub tag: [u8; 8],
}

/// A program at a netfilter hook. The kernel does not say of which network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetfilterLink {
    /// The program's id.
    pub program: u32,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub family: u32,
    /// `NF_INET_PRE_ROUTING` and so on.
    pub hook: u32,
    /// Among the others at this hook.
    pub priority: i32,
    /// `BPF_F_NETFILTER_IP_DEFRAG` is 1.
    pub flags: u32,
}

/// What programs are attached to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// An interface of the calling thread's namespace, by index.
    Interface(u32),
    /// A network namespace.
    Netns(BorrowedFd<'a>),
}

/// The program with this id. Needs CAP_SYS_ADMIN.
///
/// # Errors
/// `ENOENT` if it is gone, `EPERM`, `ENOSYS` in a kernel without BPF.
pub fn program(id: u32) -> io::Result<Program> {
    let fd = by_id(PROG_GET_FD_BY_ID, id)?;
    // `struct bpf_prog_info` up to `name`.
    let mut info = Structure::<80>::new();
    object_info(fd.as_fd(), &mut info)?;
    let mut tag = [0; 8];
    tag.copy_from_slice(&info.0[8..16]);
    let name = info.0[64..80].split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    Ok(Program { name, tag })
}

/// The ids of the programs attached there, in the order in which they run. Needs CAP_NET_ADMIN.
///
/// # Errors
/// `EINVAL` where the kernel does not have this kind of hook, `ENODEV`, `EPERM`, `ENOSYS`.
pub fn attached(target: Target<'_>, hook: u32) -> io::Result<Vec<u32>> {
    let number = match target {
        Target::Interface(index) => index,
        Target::Netns(fd) => fd.as_raw_fd().cast_unsigned(),
    };
    let mut ids: Vec<u32> = vec![0; 64];
    loop {
        let mut query = Structure::<64>::new();
        query
            .set(0, number)
            .set(4, hook)
            .set(24, ids.len() as u32)
            .point(16, ids.as_mut_ptr().expose_provenance());
        let result = call(PROG_QUERY, &mut query);
        let count = query.get(24) as usize;
        match result {
            Ok(_) => {
                ids.truncate(count);
                return Ok(ids);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && count > ids.len() => {
                ids.resize(count, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// All netfilter links of the host, whatever their namespace. Needs CAP_SYS_ADMIN.
///
/// # Errors
/// `EPERM`, `ENOSYS`; `EINVAL` in a kernel without links.
pub fn netfilter_links() -> io::Result<Vec<NetfilterLink>> {
    let mut found = Vec::new();
    let mut id = 0;
    loop {
        let mut next = Structure::<16>::new();
        match call(LINK_GET_NEXT_ID, next.set(0, id)) {
            Ok(_) => id = next.get(4),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        }
        let fd = match by_id(LINK_GET_FD_BY_ID, id) {
            Ok(fd) => fd,
            // It went between the two questions.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        // `struct bpf_link_info`; what follows the first three numbers begins on a multiple of eight.
        let mut info = Structure::<64>::new();
        object_info(fd.as_fd(), &mut info)?;
        if info.get(0) == LINK_TYPE_NETFILTER {
            found.push(NetfilterLink {
                program: info.get(8),
                family: info.get(16),
                hook: info.get(20),
                priority: info.get(24).cast_signed(),
                flags: info.get(28),
            });
        }
    }
}

/// Loads a program: its `enum bpf_prog_type`, the hook that it is for (0 where the type says it), its name of at
/// most 15 bytes, its instructions. It is gone when the descriptor is closed and nothing has it attached.
pub fn load(kind: u32, hook: u32, name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = Structure::<72>::new();
    attr.set(0, kind).set(4, instructions.len() as u32).set(68, hook);
    attr.point(8, instructions.as_ptr().expose_provenance());
    attr.point(16, license.as_ptr().expose_provenance());
    for (place, byte) in name.bytes().take(15).enumerate() {
        attr.0[48 + place] = byte;
    }
    Ok(own(call(PROG_LOAD, &mut attr)?))
}

/// Attaches a program by a link, which ends when the descriptor is closed. `options` are the four numbers that
/// follow the flags in `BPF_LINK_CREATE`'s structure: for netfilter family, hook, priority and flags.
pub fn attach(program: &OwnedFd, target: u32, hook: u32, options: [u32; 4]) -> io::Result<OwnedFd> {
    let mut attr = Structure::<48>::new();
    attr.set(0, program.as_raw_fd().cast_unsigned()).set(4, target).set(8, hook);
    for (place, number) in options.into_iter().enumerate() {
        attr.set(16 + 4 * place, number);
    }
    Ok(own(call(LINK_CREATE, &mut attr)?))
}

fn by_id(command: libc::c_long, id: u32) -> io::Result<OwnedFd> {
    Ok(own(call(command, Structure::<16>::new().set(0, id))?))
}

fn object_info<const N: usize>(fd: BorrowedFd<'_>, info: &mut Structure<N>) -> io::Result<()> {
    let mut attr = Structure::<16>::new();
    attr.set(0, fd.as_raw_fd().cast_unsigned()).set(4, N as u32);
    attr.point(8, info.0.as_mut_ptr().expose_provenance());
    call(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(())
}

/// A structure of the kernel's, as bytes.
#[repr(C, align(8))]
struct Structure<const N: usize>([u8; N]);

impl<const N: usize> Structure<N> {
    fn new() -> Self {
        Self([0; N])
    }

    fn set(&mut self, offset: usize, number: u32) -> &mut Self {
        self.0[offset..offset + 4].copy_from_slice(&number.to_ne_bytes());
        self
    }

    fn point(&mut self, offset: usize, address: usize) -> &mut Self {
        self.0[offset..offset + 8].copy_from_slice(&(address as u64).to_ne_bytes());
        self
    }

    fn get(&self, offset: usize) -> u32 {
        let bytes = &self.0[offset..offset + 4];
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// bpf(2). Addresses in `attr` must be of memory that is alive and large enough: all callers are in this file.
fn call<const N: usize>(command: libc::c_long, attr: &mut Structure<N>) -> io::Result<RawFd> {
    // SAFETY: `attr` is N bytes that the kernel may read and write.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.0.as_mut_ptr(), N) };
    match RawFd::try_from(result) {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptor that a command returned.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it, for nobody else.
    #[allow(unsafe_code)]
    unsafe {
        OwnedFd::from_raw_fd(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r0 = value; exit`.
    fn returns(value: u64) -> [u64; 2] {
        [0xb7 | value << 32, 0x95]
    }

    #[test]
    fn a_link_at_a_netfilter_hook_is_found_by_hook_and_priority_and_its_program_by_name_and_tag() {
        let inside = crate::sys::netns::Netns::create().unwrap();
        let program_fd = load(32, hook::NETFILTER, "fwdrift_unit", &returns(1)).unwrap();
        let link = inside.run(|| attach(&program_fd, 0, hook::NETFILTER, [2, 1, 77, 0]).unwrap()).unwrap();
        let ours = |found: &NetfilterLink| {
            program(found.program).is_ok_and(|program| program.name == b"fwdrift_unit")
        };
        let found: Vec<_> = netfilter_links().unwrap().into_iter().filter(ours).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].family, found[0].hook, found[0].priority, found[0].flags), (2, 1, 77, 0));
        let again = load(32, hook::NETFILTER, "another_name", &returns(1)).unwrap();
        let other = load(32, hook::NETFILTER, "fwdrift_unit", &returns(0)).unwrap();
        let attached = |fd: &OwnedFd, priority| {
            inside.run(|| attach(fd, 0, hook::NETFILTER, [10, 1, priority, 0]).unwrap()).unwrap()
        };
        let _more = (attached(&again, 1), attached(&other, 2));
        let tag_of = |wanted: u32| {
            let links = netfilter_links().unwrap();
            let mut fitting = links.iter().filter(|link| (link.family, link.priority) == (10, wanted as i32));
            fitting.find_map(|link| program(link.program).ok()).unwrap().tag
        };
        let tag = program(found[0].program).unwrap().tag;
        assert_eq!(tag, tag_of(1), "of the instructions alone");
        assert_ne!(tag, tag_of(2));
        drop(link);
        let left = netfilter_links().unwrap();
        assert!(!left.iter().any(|link| ours(link) && link.family == 2));
    }

    #[test]
    fn what_is_not_there_is_an_error_with_its_number() {
        assert_eq!(program(u32::MAX).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        let gone = attached(Target::Interface(u32::MAX), hook::TCX_INGRESS).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
        let unknown = attached(Target::Interface(1), 9999).unwrap_err();
        assert_eq!(unknown.raw_os_error(), Some(libc::EINVAL));
    }
}
