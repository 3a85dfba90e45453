"""The default filter of system calls, as data.

Everything is refused with EPERM unless a rule below allows it. Groups name what the calls are
for, so that a review can ask "should a container do this?" instead of reading one list of 400
names. Some calls come with a capability, some only without one. Sources of the decisions: the
manual pages, the kernel's own checks, and the published advisories named beside a rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass

EPERM, ENOSYS = 1, 38
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"

# Native architecture of this engine's hosts -> filter architectures: the 32-bit calls of the
# same processor are filtered too, or they would be a way around the filter.
ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A test of one argument; for MASKED_EQ `value` is the mask and `datum` the wanted bits."""

    index: int
    op: str
    value: int
    datum: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to some calls, and when the rule counts.

    Attributes:
        names: System calls; those of other architectures are ignored.
        capabilities: The rule counts when the container has one of these; empty: always.
        without: The rule counts when the container has none of these.
        architectures: Platforms, as in image references; empty: all.
        min_kernel: Oldest kernel on which the rule counts.
        comparisons: All must hold.
    """

    names: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    min_kernel: tuple[int, int] = (0, 0)
    comparisons: tuple[Comparison, ...] = ()
    action: str = ALLOW
    errno: int | None = None


_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat _llseek lseek
lstat lstat64 mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2
pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir
sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync
sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
utimensat_time64 utimes vmsplice write writev name_to_handle_at listmount statmount
"""
_EXTENDED_ATTRIBUTES = """
fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
"""
_WAITING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 _newselect pause pipe pipe2 poll ppoll ppoll_time64 pselect6
pselect6_time64 select signalfd signalfd4 fanotify_mark inotify_add_watch inotify_init
inotify_init1 inotify_rm_watch
"""
_ASYNCHRONOUS_IO = """
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get
ioprio_set
"""
_MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect process_mrelease remap_file_pages
"""
_PROCESSES = """
alarm capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu
getitimer getpgid getpgrp getpid getppid getpriority getrandom getrlimit getrusage getsid gettid
kill pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setitimer
setpgid setpriority setrlimit setsid sysinfo tgkill times tkill ugetrlimit uname vfork wait4
waitid waitpid uretprobe uprobe
"""
_IDENTITY = """
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
setreuid32 setuid setuid32
"""
_SIGNALS = """
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signal sigaction sigpending
sigprocmask sigreturn sigsuspend
"""
_TIME = """
adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 gettimeofday nanosleep time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""
_LOCKS = """
futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
"""
_MESSAGES = """
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget
"""
_NETWORK = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""
_OWN_SANDBOX = """
landlock_add_rule landlock_create_ruleset landlock_restrict_self
"""
_OTHER_PROCESSES_MEMORY = "ptrace process_vm_readv process_vm_writev"
_ADMINISTRATION = """
bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname
setns syslog umount umount2 unshare
"""
_DEBUGGING = """
kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace
"""
_MEMORY_PLACEMENT = """
get_mempolicy mbind set_mempolicy set_mempolicy_home_node
"""

# clone(2) flags that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NAMESPACE_FLAGS = 0x7E020000
_AF_ALG, _AF_NETLINK_SIDE, _AF_VSOCK = 38, 39, 40
# PER_LINUX, PER_LINUX32, UNAME26, both, and the question "which is it?" (personality(2)).
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def _allow(names: str, *capabilities: str) -> Rule:
    return Rule(tuple(names.split()), tuple(f"CAP_{name}" for name in capabilities))


RULES: tuple[Rule, ...] = (
    _allow(_FILES),
    _allow(_EXTENDED_ATTRIBUTES),
    _allow(_WAITING),
    _allow(_ASYNCHRONOUS_IO),
    _allow(_MEMORY),
    _allow(_PROCESSES),
    _allow(_IDENTITY),
    _allow(_SIGNALS),
    _allow(_TIME),
    _allow(_LOCKS),
    _allow(_MESSAGES),
    _allow(_NETWORK),
    _allow(_OWN_SANDBOX),
    # Before 4.8 a tracer could slip past the filter, seccomp(2).
    Rule(tuple(_OTHER_PROCESSES_MEMORY.split()), min_kernel=(4, 8)),
    *(
        Rule(("personality",), comparisons=(Comparison(0, "SCMP_CMP_EQ", value),))
        for value in _PERSONALITIES
    ),
    # socketcall(2) hides its arguments behind a pointer that a filter cannot follow; libseccomp
    # would let it through for every family once `socket` is allowed for one. The direct calls
    # exist since Linux 4.3.
    Rule(("socketcall",), action=ERRNO, errno=ENOSYS),
    Rule(("socket",), comparisons=(Comparison(0, "SCMP_CMP_LT", _AF_ALG),)),
    Rule(("socket",), comparisons=(Comparison(0, "SCMP_CMP_EQ", _AF_NETLINK_SIDE),)),
    Rule(("socket",), comparisons=(Comparison(0, "SCMP_CMP_GT", _AF_VSOCK),)),
    Rule(
        ("clone",),
        without=("CAP_SYS_ADMIN",),
        comparisons=(Comparison(0, "SCMP_CMP_MASKED_EQ", _NAMESPACE_FLAGS, 0),),
    ),
    # Its flags are behind a pointer as well; ENOSYS makes C libraries use clone.
    Rule(("clone3",), without=("CAP_SYS_ADMIN",), action=ERRNO, errno=ENOSYS),
    Rule(("arch_prctl",), architectures=("amd64", "x32")),
    Rule(("modify_ldt",), architectures=("amd64", "x32", "x86")),
    Rule(
        (
            "arm_fadvise64_64",
            "arm_sync_file_range",
            "sync_file_range2",
            "breakpoint",
            "cacheflush",
            "set_tls",
        ),
        architectures=("arm", "arm64"),
    ),
    _allow("open_by_handle_at", "DAC_READ_SEARCH"),
    _allow(_ADMINISTRATION, "SYS_ADMIN"),
    _allow("bpf", "BPF"),
    _allow("perf_event_open", "PERFMON"),
    _allow("syslog", "SYSLOG"),
    _allow("reboot", "SYS_BOOT"),
    _allow("chroot", "SYS_CHROOT"),
    _allow("delete_module finit_module init_module", "SYS_MODULE"),
    _allow("acct", "SYS_PACCT"),
    _allow(_DEBUGGING, "SYS_PTRACE"),
    _allow("ioperm iopl", "SYS_RAWIO"),
    _allow("clock_settime clock_settime64 settimeofday stime", "SYS_TIME"),
    _allow("vhangup", "SYS_TTY_CONFIG"),
    _allow(_MEMORY_PLACEMENT, "SYS_NICE"),
)

# Numbers of calls younger than the libseccomp of supported hosts. From 424 on, numbers are the
# same on every architecture (Documentation/process/adding-syscalls.rst).
YOUNG_CALLS: Mapping[str, int] = {
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
}
LAST_KNOWN_CALL = 467
