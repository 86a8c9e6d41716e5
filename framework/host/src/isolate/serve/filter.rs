//! What a worker may not ask of the system, where it was started with a filter: reach a network, start programs, change
//! files, or look into other processes.
//!
//! The filter is a list of what is denied, for vendors' libraries use far more calls than anybody could name. It holds
//! mistakes and carelessness; it is no jail.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// Denied whatever their arguments are.
const DENIED: [i64; 44] = [
    // Networks. A worker gets its connections from the host.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Files.
    libc::SYS_mknodat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_unshare,
    libc::SYS_setns,
    // The kernel.
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
];

/// The older forms of the above, which this architecture has beside them.
#[cfg(target_arch = "x86_64")]
const OLDER: [i64; 13] = [
    libc::SYS_vfork,
    libc::SYS_fork,
    libc::SYS_creat,
    libc::SYS_mknod,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: [i64; 0] = [];

/// Calls whose arguments lie in memory, where no filter can look. Libraries take older calls where these do not exist.
const UNKNOWN: [i64; 5] = [
    libc::SYS_clone3,
    libc::SYS_openat2,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// From now on, for all threads of this process and all to come.
pub(super) fn apply() -> io::Result<()> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(&OLDER).map(|call| (*call, Vec::new())).collect();
    // Opened for writing, in any of the ways.
    let writes = |argument| {
        let any = [
            has(argument, libc::O_ACCMODE, libc::O_WRONLY)?,
            has(argument, libc::O_ACCMODE, libc::O_RDWR)?,
            has(argument, libc::O_CREAT, libc::O_CREAT)?,
            has(argument, libc::O_TRUNC, libc::O_TRUNC)?,
        ];
        Ok::<_, io::Error>(any.to_vec())
    };
    denied.insert(libc::SYS_openat, writes(2)?);
    #[cfg(target_arch = "x86_64")]
    denied.insert(libc::SYS_open, writes(1)?);
    // A process, and no thread.
    denied.insert(libc::SYS_clone, vec![has(0, libc::CLONE_THREAD, 0)?]);
    // Signals to others than this process and its group.
    denied.insert(libc::SYS_kill, vec![is_neither(0, own_id(), 0)?]);
    denied.insert(libc::SYS_tgkill, vec![is_neither(0, own_id(), own_id())?]);
    install(denied, libc::EPERM)?;
    install(UNKNOWN.iter().map(|call| (*call, Vec::new())).collect(), libc::ENOSYS)
}

fn own_id() -> u64 {
    std::process::id().into()
}

/// The argument has these bits under a mask.
fn has(argument: u8, mask: i32, bits: i32) -> io::Result<SeccompRule> {
    let operator = SeccompCmpOp::MaskedEq(mask as u64);
    rule(vec![condition(argument, operator, bits as u64)?])
}

fn is_neither(argument: u8, one: u64, other: u64) -> io::Result<SeccompRule> {
    let not = |number| condition(argument, SeccompCmpOp::Ne, number);
    rule(vec![not(one)?, not(other)?])
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

fn rule(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(io::Error::other)
}

fn install(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> io::Result<()> {
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture);
    let program: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).map_err(io::Error::other)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)
}
