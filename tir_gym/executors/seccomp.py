"""The system calls that code in a session may make: two classic BPF programs, assembled here (x86_64).

`allow_list` denies everything it does not name, signals among it. `fork_gate` hands each attempt to fork to the fork
server, which lets it pass only during a fork the host has asked for, so a policy cannot start a process at all; and
each attempt to take up Landlock rules, for which the server puts in the rules that it wants a copy to have.
Runs in the fork server with the standard library only.
"""

import ctypes
import errno
import os
import platform
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_SECCOMP = 317
_AUDIT_ARCH_X86_64 = 0xC000003E
_KILL, _ERRNO, _NOTIFY, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
_SET_MODE_FILTER, _SPEC_ALLOW, _NEW_LISTENER = 1, 4, 8
CLONE_THREAD, _CLONE_NAMESPACES = 0x10000, 0x7E020000
_FORK_FLAGS = (0x01200011, 0x11)  # glibc's and musl's fork()

_CLONE, _CLONE3 = 56, 435
RESTRICT = 446
"""landlock_restrict_self, as the gate reports it."""
_ALLOWED = (
    "read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12 "
    "rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 pread64=17 pwrite64=18 readv=19 writev=20 access=21 pipe=22 "
    "select=23 sched_yield=24 mremap=25 msync=26 mincore=27 madvise=28 dup=32 dup2=33 pause=34 nanosleep=35 "
    "getitimer=36 alarm=37 setitimer=38 getpid=39 sendfile=40 recvfrom=45 recvmsg=47 getsockname=51 getpeername=52 "
    "setsockopt=54 getsockopt=55 exit=60 wait4=61 uname=63 flock=73 fsync=74 fdatasync=75 truncate=76 ftruncate=77 "
    "getdents=78 getcwd=79 chdir=80 fchdir=81 rename=82 mkdir=83 rmdir=84 creat=85 unlink=87 readlink=89 chmod=90 "
    "fchmod=91 umask=95 gettimeofday=96 getrlimit=97 getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104 "
    "geteuid=107 getegid=108 getppid=110 getpgrp=111 getgroups=115 getresuid=118 getresgid=120 getpgid=121 getsid=124 "
    "rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 utime=132 statfs=137 fstatfs=138 "
    "getpriority=140 sched_getparam=143 sched_getscheduler=145 sched_get_priority_max=146 sched_get_priority_min=147 "
    "arch_prctl=158 gettid=186 time=201 futex=202 sched_getaffinity=204 epoll_create=213 getdents64=217 "
    "set_tid_address=218 restart_syscall=219 fadvise64=221 timer_create=222 timer_settime=223 timer_gettime=224 "
    "timer_getoverrun=225 timer_delete=226 clock_gettime=228 clock_getres=229 clock_nanosleep=230 exit_group=231 "
    "epoll_wait=232 epoll_ctl=233 utimes=235 waitid=247 openat=257 mkdirat=258 newfstatat=262 unlinkat=263 "
    "renameat=264 readlinkat=267 fchmodat=268 faccessat=269 pselect6=270 ppoll=271 set_robust_list=273 utimensat=280 "
    "epoll_pwait=281 timerfd_create=283 eventfd=284 fallocate=285 timerfd_settime=286 timerfd_gettime=287 "
    "eventfd2=290 epoll_create1=291 dup3=292 pipe2=293 preadv=295 pwritev=296 getcpu=309 renameat2=316 getrandom=318 "
    "membarrier=324 copy_file_range=326 preadv2=327 pwritev2=328 statx=332 rseq=334 close_range=436 faccessat2=439 "
    "epoll_pwait2=441 futex_waitv=449"
)
_STARTING = "fork=57 vfork=58 execve=59 kill=62 setpgid=109 tkill=200 tgkill=234"
"""What sessions need that may start programs. Signals reach no further than their pid namespace."""
_ATTRIBUTES = (90, 91, 132, 235, 268, 280)
"""chmod, fchmod, utime, utimes, fchmodat, utimensat."""
_EXTENDED = range(188, 200)
"""setxattr to fremovexattr: programs that find them unsupported go on, those that are refused them complain."""
_ABSENT = (_CLONE3, 437)  # clone3 and openat2: the C library falls back on the forms a filter can read
_LAST_KNOWN = 451

Code = list[tuple[int, int, int, int]]


def _ret(value: int) -> Code:
    return [(0x06, 0, 0, value)]


_PASS, _DENY = _ret(_ALLOW), _ret(_ERRNO | errno.EPERM)


def _arg(index: int, high: bool = False) -> Code:
    return [(0x20, 0, 0, 16 + 8 * index + (4 if high else 0))]


def _one_of(index: int, values: tuple[int, ...]) -> Code:
    """Allow where the low word of argument `index` is one of `values`."""
    code = _arg(index)
    for value in values:
        code += [(0x15, 0, 1, value), *_PASS]
    return code + _DENY


def _is_null(index: int) -> Code:
    """Allow where the 64-bit argument `index` is zero."""
    return [*_arg(index), (0x15, 0, 3, 0), *_arg(index, True), (0x15, 0, 1, 0), *_PASS, *_DENY]


def _clone(gated: bool, programs: bool) -> Code:
    if programs:
        return [*_arg(0), (0x45, 0, 1, _CLONE_NAMESPACES), *_DENY, *_PASS]
    forks: Code = []
    for flags in _FORK_FLAGS if gated else ():
        forks += [(0x15, 0, 1, flags), *_PASS]
    forks += _DENY
    threads: Code = [(0x45, 0, 1, _CLONE_NAMESPACES), *_DENY, *_PASS]
    return [*_arg(0), (0x45, 0, len(threads), CLONE_THREAD), *threads, *forks]


def _tree(rules: list[tuple[int, Code]]) -> Code:
    """A binary search over `(first syscall number, what to do from there on)`, the accumulator holding the number."""
    if len(rules) == 1:
        return rules[0][1]
    middle = len(rules) // 2
    left, right = _tree(rules[:middle]), _tree(rules[middle:])
    pivot = rules[middle][0]
    if len(left) < 256:
        return [(0x35, len(left), 0, pivot), *left, *right]
    return [(0x35, 0, 1, pivot), (0x05, 0, 0, len(left)), *left, *right]


def _program(body: Code) -> bytes:
    head: Code = [
        (0x20, 0, 0, 4),
        (0x15, 1, 0, _AUDIT_ARCH_X86_64),
        *_ret(_KILL),
        (0x20, 0, 0, 0),
        (0x35, 0, 1, 0x40000000),  # the x32 numbers
        *_ret(_KILL),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in head + body)


def allow_list(forks: bool, attributes: bool, programs: bool = False) -> bytes:
    """The main filter. `forks`: `fork_gate` stands before clone and landlock_restrict_self.

    `programs`: processes may be forked, executed and signalled; only for a pid namespace of the session's own.
    `attributes`: files may be given other modes and times. Landlock, unlike a read-only mount, holds neither off, so
    where it stands alone a session with the host's user could change those of every file the host owns.
    """
    special: dict[int, Code] = {
        _CLONE: _clone(forks, programs),
        53: _one_of(0, (1,)),  # socketpair: AF_UNIX
        44: _is_null(4),  # sendto: without an address
        157: _one_of(0, (15, 16, 0x53564D41)),  # prctl: thread names, names of mappings
        302: _is_null(2),  # prlimit64: reading
        16: _one_of(1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # ioctl: TCGETS ... FIOCLEX
        72: _one_of(1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)),  # fcntl: no owners, signals, leases
    }
    special |= {number: _ret(_ERRNO | errno.ENOSYS) for number in _ABSENT}
    special |= {int(entry.split("=")[1]): _PASS for entry in _ALLOWED.split()}
    if programs:
        special |= {int(entry.split("=")[1]): _PASS for entry in _STARTING.split()}
        special |= dict.fromkeys(_EXTENDED, _ret(_ERRNO | errno.EOPNOTSUPP))
    special[RESTRICT] = _PASS if forks else _DENY
    if not attributes:
        special |= dict.fromkeys(_ATTRIBUTES, _DENY)
    rules: list[tuple[int, Code]] = []
    for number in range(_LAST_KNOWN + 1):
        action = special.get(number, _DENY)
        if not rules or rules[-1][1] is not action:
            rules.append((number, action))
    rules.append((_LAST_KNOWN + 1, _ret(_ERRNO | errno.ENOSYS)))
    return _program(_tree(rules))


def fork_gate(threads: bool) -> bytes:
    """The filter that reports to its listener every landlock_restrict_self and every clone.

    Without `threads` those clones are left out that make a thread.
    """
    forks_only = [] if threads else [*_arg(0), (0x45, 0, 1, CLONE_THREAD), *_PASS]
    return _program(
        [
            (0x15, 0, 1, RESTRICT),
            *_ret(_NOTIFY),
            (0x15, 1, 0, _CLONE),
            *_PASS,
            *forks_only,
            *_ret(_NOTIFY),
        ]
    )


def supported() -> str:
    """Return "" where filters for this machine are known, else why not."""
    if platform.machine() != "x86_64" or struct.calcsize("P") != 8:
        return f"no system call table for {platform.machine()}; use an x86_64 machine"
    return ""


def install(program: bytes, listen: bool = False) -> int:
    """Apply `program` to this process for good; with `listen` return the descriptor that reports. Raises `OSError`."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    flags = _SPEC_ALLOW | (_NEW_LISTENER if listen else 0)
    result = int(_LIBC.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, flags, ctypes.c_char_p(header)))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"seccomp filter: {os.strerror(ctypes.get_errno())}")
    return result
