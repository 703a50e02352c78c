"""Shell programs against sessions that may start programs, as the `bash` tool runs them; `won` tells a success."""

from collections.abc import Callable

from tests.executors.hostile.program import Program, ran, stopped, typed
from tir_gym.core.interfaces import Done
from tir_gym.tools.terminal import _BASH

AS_THE_TOOL = f"""{_BASH}
import os
if os.getpid() != 1:
    def _terminal(command):
        import subprocess
        return subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL).returncode
"""
"""Where nothing isolates, a plain bash; the tool's own program refuses to run there."""


def _shell(
    name: str, section: str, command: str, then: Callable[[Done], bool] = ran, deadline: float = 10.0
) -> Program:
    lead = "won() { printf 'got-%s\\n' it; }\n"
    return Program(name, section, f"_terminal({lead + command!r})", then, deadline, before=AS_THE_TOOL)


FILES, WRITES, NETWORK, STARTS = "answers on disk", "files of the host", "network", "processes"
SIGNALS, RIGHTS, LIMITS, DISK = "signals", "rights", "limits", "disk"
OUTPUT, HANGS, MEMORY, NEXT = "output", "hangs", "memory", "the next session"
_CALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
numbers = dict(ptrace=101, mount=165, pivot_root=155, unshare=272, setns=308, keyctl=250, add_key=248, bpf=321,
    io_uring_setup=425, userfaultfd=323, perf_event_open=298, process_vm_readv=310, memfd_create=319, pidfd_open=434,
    pidfd_getfd=438, clone3=435, execveat=322, socket=41, connect=42, setsid=112, setuid=105, chroot=161, mknod=133,
    symlink=88, link=86, shmget=29, setrlimit=160, seccomp=317, open_by_handle_at=304, openat2=437, sendmsg=46,
    rt_sigqueueinfo=129, pidfd_send_signal=424, landlock_create_ruleset=444, setpriority=141)
refused = lambda number: libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() in (1, 38)
done = [name for name, number in numbers.items() if not refused(number)]
spaces = [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)]
done += [hex(s) for s in spaces if libc.syscall(56, s | 17, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1]
print(done or "none")
"""
_FORKS = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
_DAEMON = (
    "import os, signal, time\nif os.fork(): time.sleep(0.3); os._exit(0)\ntry: os.setsid()\nexcept OSError: pass\n"
    "if os.fork(): os._exit(0)\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
    "    except OSError: pass\ntime.sleep(1000)\n"
)
_PERL = "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un(\"UNIX\"))'"
_ATTACH = (
    "import ctypes, os\nlibc = ctypes.CDLL(None)\nfor pid in (os.getppid(), 1, HOST):\n"
    "    if libc.ptrace(16, pid, 0, 0) == 0: os.system('printf got-%s it')\n"
)


def _python(program: str) -> str:
    return f"python3 -c '{program}'"


PROGRAMS = [
    _shell("cat of a secret", FILES, "cat SECRET"),
    _shell("cat of the answers", FILES, "cat GOLD"),
    _shell("cat of this package", FILES, "cat SOURCE && won"),
    _shell("search for answers", FILES, "grep -rsh canary- FOLDER; grep -rsh --include=gold.json canary- /"),
    _shell("way up to a secret", FILES, "cd ../../../../../..; cat .SECRET"),
    _shell("symbolic link to a secret", FILES, "ln -s SECRET here; cat here"),
    _shell("hard link to a secret", FILES, "ln SECRET here && won; cat here"),
    _shell("copy of the host's folder", FILES, "cp -r FOLDER copied && won; cat copied/*"),
    _shell("tar of the disk", FILES, "tar cf - FOLDER | tar xOf -"),
    _shell("neighbours' files", FILES, "cat ../*/mine ../*/*/mine /box/*/mine ~/../*/mine"),
    _shell("import of the package", FILES, _python("import tir_gym") + " && won"),
    _shell("ls of the root", FILES, "ls / && won"),
    _shell("the users and their secrets", FILES, "cat /etc/passwd && won; cat /etc/shadow"),
    _shell("environments by /proc", FILES, "cat /proc/*/environ | tr '\\0' '\\n'; ls /proc/1 && won"),
    _shell("memory by /proc", FILES, "head -c 10 /proc/$PPID/mem; cat /proc/HOST/maps && won"),
    _shell("the environment", FILES, 'env; [ -z "$TIR_GYM_HOSTILE_KEY" ] || won'),
    _shell("every descriptor", FILES, 'for fd in {3..63}; do read -t 0.05 -u $fd x 2>&- && echo "$x"; done; true'),
    _shell("the channel", FILES, 'echo \'    {"t": "done"}\' >&3 && won; head -c 1 <&3 && won; true'),
    _shell("change of a secret", WRITES, "echo changed > SECRET; sed -i s/canary/x/ SECRET"),
    _shell("removal of a secret", WRITES, "rm -f SECRET; mv SECRET gone; truncate -s 0 SECRET"),
    _shell("rights of a secret", WRITES, "chmod 777 SECRET && won; touch -d yesterday SECRET && won; true"),
    _shell(
        "programs of the system", WRITES, "for at in /bin /lib /programs /etc; do echo x > $at/evil && won; done; true"
    ),
    _shell(
        "a place for all users", WRITES, "for at in /tmp /dev/shm /var/tmp; do echo x > $at/evil && won; done; true"
    ),
    _shell("a directory in the root", WRITES, "mkdir /evil && won; mkdir /box/evil && won; true"),
    _shell("bash's TCP", NETWORK, "exec 9<>/dev/tcp/127.0.0.1/PORT && echo hello >&9"),
    _shell("bash's UDP", NETWORK, "echo hello > /dev/udp/127.0.0.1/DATAGRAMS"),
    _shell("curl", NETWORK, "curl -m 2 http://127.0.0.1:PORT/"),
    _shell("curl to a socket in a file", NETWORK, "curl -m 2 --unix-socket UNIX http://x/"),
    _shell("python's sockets", NETWORK, _python('import socket; socket.create_connection(("127.0.0.1", PORT), 2)')),
    _shell("perl's sockets", NETWORK, _PERL),
    _shell("bomb", STARTS, ":() { : | : & }; : ; sleep 1000", typed, 3.0),
    _shell("bomb of busy loops", STARTS, "while :; do (while :; do :; done) & done", stopped, 3.0),
    _shell("bomb in python", STARTS, _python(_FORKS), stopped, 3.0),
    _shell("nohup", STARTS, "nohup sleep 1000 & disown; (sleep 1000 &)"),
    _shell("setsid", STARTS, "setsid sleep 1000 & setsid -f sleep 1000"),
    _shell("daemon that ignores signals", STARTS, _python(_DAEMON)),
    _shell("orphans that ignore signals", STARTS, "(trap '' INT TERM HUP; sleep 1000 & sleep 1000 & exit) & sleep 0.3"),
    _shell("orphans of a time-out", STARTS, "(trap '' INT TERM HUP; sleep 1000) & sleep 1000", stopped, 1.0),
    _shell("kill of the host", SIGNALS, "kill -9 HOST WITNESS"),
    _shell("kill of everybody", SIGNALS, "kill -9 -1; kill -9 0", typed),
    _shell("kill of its parents", SIGNALS, "kill -9 1; kill -9 $PPID; kill -TERM 1; kill -SEGV $PPID; true"),
    _shell(
        "kill of every number", SIGNALS, "for ((p = 1; p < 70000; p++)); do [ $p = $$ ] || kill -9 $p 2>&-; done; true"
    ),
    _shell("stop of everybody", SIGNALS, "kill -STOP -1; kill -STOP WITNESS; kill -STOP $PPID; true"),
    _shell(
        "interrupts for its parent",
        SIGNALS,
        "for i in {1..3000}; do kill -INT $PPID; kill -CHLD $PPID; done 2>&-; true",
    ),
    _shell("su and sudo", RIGHTS, "su -c true && won; sudo -n true && won; true"),
    _shell("mount", RIGHTS, "mount -t tmpfs none . && won; mount --bind . /usr && won; umount / && won; true"),
    _shell("own namespaces", RIGHTS, "unshare -Ur true && won; unshare -p true && won; true"),
    _shell("others' namespaces", RIGHTS, "nsenter -t 1 -m -- true && won; nsenter -t HOST -n -p -- true && won; true"),
    _shell("chroot", RIGHTS, _python('import os; os.chroot(".")') + " && won; true"),
    _shell("setuid copy", RIGHTS, "cp /bin/bash own; chmod 4755 own; ./own -p -c won && won; true"),
    _shell(
        "program of its own",
        RIGHTS,
        "cp /bin/true own; chmod +x own; ./own && won; /lib64/ld-*.so.2 ./own && won; true",
    ),
    _shell("trace of its parent", RIGHTS, _python(_ATTACH)),
    _shell("system calls of a program", RIGHTS, _python(_CALLS) + " | grep -qx none || won"),
    _shell("raising limits", LIMITS, "for what in -u -n -v -t; do ulimit $what 999999999 && won; done; true"),
    _shell("raising limits of its parent", LIMITS, "prlimit --pid $PPID --nproc=9999 && won; true"),
    _shell("a better place in line", LIMITS, "renice -n -5 $$ && won; chrt -f 1 true && won; true"),
    _shell("a file without end", DISK, "cat /dev/zero > big", typed),
    _shell("files without end", DISK, "for i in {1..200}; do head -c 1000000 /dev/zero > big$i || break; done; true"),
    _shell("files without number", DISK, "for i in {1..20000}; do : > file$i || break; done 2>&-; true", typed),
    _shell("room set aside", DISK, "fallocate -l 200M big; fallocate -l 200M big2; true"),
    _shell("output without end", OUTPUT, "yes", stopped, 2.0),
    _shell("bytes without end", OUTPUT, "cat /dev/zero >&2", stopped, 2.0),
    _shell("one line without end", OUTPUT, "cat /dev/zero | tr '\\0' x", stopped, 2.0),
    _shell("much output", OUTPUT, "head -c 300000000 /dev/zero", typed),
    _shell("loop", HANGS, "while :; do :; done", stopped, 1.0),
    _shell("loop that ignores signals", HANGS, "trap '' INT TERM HUP QUIT; while :; do :; done", stopped, 1.0),
    _shell("program in place of the shell", HANGS, "trap '' INT; exec sleep 1000", stopped, 1.0),
    _shell("stop of itself", HANGS, "kill -STOP $$", stopped, 1.0),
    _shell("wait for input", HANGS, "tail -f /dev/null", stopped, 1.0),
    _shell("memory of a program", MEMORY, _python("x = bytes(1 << 30); y = bytearray(x); print(len(y))")),
    _shell("memory of the shell", MEMORY, "x=$(head -c 700000000 /dev/zero | tr '\\0' x); echo ${#x}", typed),
    _shell("start files", NEXT, "for f in .bashrc .profile sitecustomize.py; do echo 'echo evil' > ~/$f; done"),
]
SHELL = {program.name: program for program in PROGRAMS}
assert len(SHELL) == len(PROGRAMS), "a name is used twice"
