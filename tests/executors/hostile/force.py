"""Programs that kill, multiply, stay, hang, or take memory, disk and output without end. Each ends by itself."""

from tests.executors.hostile.program import (
    Program,
    bounded,
    exhausted,
    gone,
    memory,
    ran,
    refused,
    stopped,
    typed,
)

SIGNALS, PROCESSES, ORPHANS, HANGS = "signals", "processes", "orphans", "hangs"
MEMORY, DISK, OUTPUT = "memory", "disk", "output"
QUICK = 0.3
NO_INODES = {"bwrap": "!", "unprivileged bwrap": "!"}
NO_QUOTA = {"no namespaces": "D", "unprivileged no namespaces": "D"}

KILLS = [
    Program("kills the host", SIGNALS, "os.kill(HOST, 9)", refused),
    Program("kills a process of the host", SIGNALS, "os.kill(WITNESS, 9)", refused),
    Program("stops the host", SIGNALS, "os.kill(HOST, 19)", refused, QUICK),
    Program("stops a process of the host", SIGNALS, "os.kill(WITNESS, 19)", refused),
    Program("interrupts the host", SIGNALS, "os.kill(HOST, 2)", refused),
    Program("kills its parent", SIGNALS, "os.kill(os.getppid() or -1, 9)", refused),
    Program("kills its group", SIGNALS, "os.killpg(os.getpgid(0), 9)", refused),
    Program(
        "kills its group and all it can",
        SIGNALS,
        "for p in (0, -1, os.getppid() or -1):\n    try: os.kill(p, 15)\n    except OSError: pass",
    ),
    Program("kills whatever /proc shows", SIGNALS, "for pid in pids():\n    if pid != 1: os.kill(pid, 9)", refused),
    Program(
        "kills by number", SIGNALS, "for pid in range(2, 400):\n    try: os.kill(pid, 9)\n    except OSError: pass", ran
    ),
    Program("kills by descriptor", SIGNALS, "signal.pidfd_send_signal(os.pidfd_open(WITNESS), 9)", refused),
    Program("kills by thread", SIGNALS, "call(234, WITNESS, WITNESS, 9)", refused),
    Program("queues a signal", SIGNALS, "call(129, WITNESS, 9, struct.pack('iii116x', 9, 0, -1))", refused),
    Program(
        "has the kernel signal the host",
        SIGNALS,
        "import fcntl\na, b = socket.socketpair()\nfcntl.fcntl(a, fcntl.F_SETOWN, HOST)\nfcntl.fcntl(a, 10, 9)\n"
        "fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC)\nb.send(b'x')",
        refused,
    ),
    Program(
        "limits another process",
        SIGNALS,
        "import resource\nresource.prlimit(WITNESS, resource.RLIMIT_NOFILE, (3, 3)); won()",
        refused,
    ),
    Program("slows the host down", SIGNALS, "os.setpriority(os.PRIO_PROCESS, HOST, 19); won()", refused),
    Program(
        "binds the host to a core", SIGNALS, "os.sched_setaffinity(HOST, os.sched_getaffinity(HOST)); won()", refused
    ),
]

MULTIPLIES = [
    Program("bombs with forks", PROCESSES, "for _ in range(400):\n    if os.fork() == 0: time.sleep(600)", refused),
    Program(
        "bombs with programs",
        PROCESSES,
        "import subprocess\nfor _ in range(300): subprocess.Popen(['sleep', '600'])",
        refused,
    ),
    Program(
        "bombs with vfork",
        PROCESSES,
        "for _ in range(300): os.posix_spawn('/bin/sleep', ['sleep', '600'], {})",
        refused,
    ),
    Program(
        "starts a program", PROCESSES, "import subprocess; subprocess.run(['/bin/sh', '-c', 'id']); won()", refused
    ),
    Program("starts a shell", PROCESSES, "if os.system('true') == 0: won()\nelse: raise OSError('no shell')", refused),
    Program(
        "starts an interpreter",
        PROCESSES,
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as p: won()",
        refused,
    ),
    Program("becomes another program", PROCESSES, "os.execv('/bin/echo', ['echo', 'got' + '-it'])", refused),
    Program(
        "becomes a program in memory",
        PROCESSES,
        "fd = os.memfd_create('x')\nos.write(fd, open('/bin/true', 'rb').read()); os.execve(fd, ['x'], {})",
        refused,
        exempt="what it becomes says nothing; counted as 'becomes another program'",
    ),
    Program(
        "bombs with threads",
        PROCESSES,
        "threading.stack_size(65536)\nfor _ in range(1000): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        exhausted,
    ),
    Program(
        "bombs with threads of full size",
        PROCESSES,
        "while threading.active_count() < 1000: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        exhausted,
    ),
    Program("starts a process by bare system call", ORPHANS, "if call(57) == 0: held.sleep(600)", refused),
    Program(
        "leaves a daemon",
        ORPHANS,
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)",
        refused,
    ),
    Program(
        "leaves a program",
        ORPHANS,
        "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)",
        refused,
    ),
    Program(
        "leaves a daemon that ignores signals",
        ORPHANS,
        "if os.fork() == 0:\n    for n in range(1, 32):\n        try: signal.signal(n, signal.SIG_IGN)\n        except OSError: pass\n    time.sleep(600)",
        refused,
    ),
    Program(
        "leaves a thread at work",
        ORPHANS,
        "def later():\n    time.sleep(0.05)\n    for module in (json, os): setattr(module, 'haunted', 1)\n"
        "threading.Thread(target=later).start()",
        ran,
        next="import time; time.sleep(0.1); import json; hasattr(json, 'haunted')",
    ),
]

WAITS = [
    Program(
        "ignores interrupts",
        HANGS,
        "for n in (signal.SIGINT, signal.SIGALRM): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        gone,
        QUICK,
    ),
    Program(
        "blocks interrupts",
        HANGS,
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\ntime.sleep(600)",
        gone,
        QUICK,
    ),
    Program(
        "catches every interrupt",
        HANGS,
        "while True:\n    try:\n        while True: sum(())\n    except BaseException: pass",
        stopped,
        QUICK,
    ),
    Program("hangs in C", HANGS, "sum(range(10**13))", gone, QUICK),
    Program("hangs in an iterator", HANGS, "import itertools; max(itertools.repeat(0))", gone, QUICK),
    Program("hangs with the lock of the interpreter", HANGS, "while True: held.sleep(600)", stopped, QUICK),
    Program("stops itself", HANGS, "os.kill(os.getpid(), 19)", refused, QUICK),
    Program(
        "hangs when shown",
        HANGS,
        "class R:\n    def __repr__(self):\n        while True:\n            try:\n                while True: sum(())\n            except BaseException: pass\nR()",
        stopped,
        QUICK,
    ),
    Program(
        "raises what hangs when shown",
        HANGS,
        "class E(Exception):\n    def __str__(self):\n        signal.setitimer(signal.ITIMER_REAL, 0)\n        while True: pass\nraise E",
        deadline=QUICK,
    ),
    Program("hangs when forgotten", HANGS, "class D:\n    def __del__(self): held.sleep(600)\nkept = D()", ran, QUICK),
    Program("never ends", HANGS, "while True: pass", stopped, QUICK),
    Program("sleeps", HANGS, "time.sleep(600)", stopped, QUICK),
    Program("turns off the alarm", HANGS, "signal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass", stopped, QUICK),
    Program(
        "waits for itself",
        HANGS,
        "signal.setitimer(signal.ITIMER_REAL, 0)\nlock = threading.Lock(); lock.acquire(); lock.acquire()",
        stopped,
        QUICK,
    ),
    Program("leaves", HANGS, "os._exit(0)", gone),
    Program("crashes", HANGS, "ctypes.string_at(0)", gone),
]

TAKES = [
    Program("bombs with memory", MEMORY, "x = bytes(1 << 20)\nwhile len(x) < 1 << 30: x += x", memory),
    Program("bombs with arrays", MEMORY, "import numpy\nx = numpy.ones(1 << 27)", memory),
    Program(
        "unpacks a bomb", MEMORY, "import zlib\nx = zlib.decompress(zlib.compress(bytes(1 << 25), 1) ) * 24", memory
    ),
    Program(
        "maps memory past the interpreter",
        MEMORY,
        "import mmap\nm = mmap.mmap(-1, 800 << 20)\nfor at in range(0, len(m), 4096): m[at] = 1",
        refused,
    ),
    Program(
        "fills memory files",
        MEMORY,
        "kept = [os.memfd_create('x') for _ in range(10)]\nfor fd in kept:\n    for _ in range(50): os.write(fd, bytes(1 << 20))",
        refused,
    ),
    Program("takes System V memory", MEMORY, "if call(29, 0, 1 << 20, 0o1600) >= 0: won()", refused),
    Program(
        "takes POSIX memory",
        MEMORY,
        "from multiprocessing import shared_memory\ns = shared_memory.SharedMemory(create=True, size=1 << 20); won(); s.unlink()",
        refused,
    ),
    Program("fills the kernel with pipes", MEMORY, "kept = [os.pipe() for _ in range(400)]; won()", refused),
    Program(
        "queues messages",
        MEMORY,
        "libc.mq_open.restype = ctypes.c_int\nif libc.mq_open(b'/tir', 66, 0o600, 0) < 0: raise OSError(ctypes.get_errno(), '')\nwon()",
        refused,
    ),
    Program("queues System V messages", MEMORY, "call(68, 0, 0o1600); won()", refused),
    Program(
        "recurses in C",
        MEMORY,
        "sys.setrecursionlimit(10**9)\ndef f(): return [*map(lambda _: f(), [0])]\nf()",
        exhausted,
    ),
    Program("raises its limits", MEMORY, "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", refused),
    Program(
        "lowers its limits for the next",
        MEMORY,
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))",
        refused,
        next="len([open('/dev/null') for _ in range(9)])",
    ),
    Program(
        "fills a file", DISK, "with open('big', 'wb') as f:\n    for _ in range(150): f.write(bytes(1 << 20))", refused
    ),
    Program(
        "fills the disk with many files",
        DISK,
        "for n in range(1200):\n    with open(str(n), 'wb') as f: f.write(bytes(1 << 17))",
        refused,
        weak=NO_QUOTA,
    ),
    Program(
        "uses up the files of the disk",
        DISK,
        "for n in range(15000): os.close(os.open(f'n{n}', os.O_CREAT))",
        refused,
        weak=NO_QUOTA | NO_INODES,
    ),
    Program(
        "reserves the disk", DISK, "os.posix_fallocate(os.open('big', os.O_CREAT | os.O_WRONLY), 0, 150 << 20)", refused
    ),
    Program(
        "fills files without names",
        DISK,
        "kept = [os.open('.', os.O_TMPFILE | os.O_RDWR) for _ in range(50)]\nfor fd in kept:\n    for _ in range(3): os.write(fd, bytes(1 << 20))",
        refused,
        weak=NO_QUOTA,
    ),
    Program(
        "makes a file with a hole",
        DISK,
        "os.truncate(os.open('hole', os.O_CREAT | os.O_RDWR), 1 << 40); won()",
        refused,
    ),
    Program(
        "nests directories",
        DISK,
        "for _ in range(1500): os.mkdir('d'); os.chdir('d')",
        weak={},
        next="import os; open('u', 'w').write('1'); open('u').read()",
    ),
    Program(
        "hides files in a closed directory",
        DISK,
        "os.mkdir('closed'); open('closed/x', 'w').write('x'); os.chmod('closed', 0)",
        typed,
    ),
    Program("prints for ever", OUTPUT, "while True: print('x' * 100)", stopped, QUICK),
    Program(
        "floods a descriptor",
        OUTPUT,
        "while True:\n    try: os.write(1, b'x' * 65536)\n    except OSError: pass",
        stopped,
        QUICK,
    ),
    Program(
        "floods the other descriptor",
        OUTPUT,
        "for _ in range(1000):\n    try: os.write(2, b'x' * 65536)\n    except OSError: pass",
        ran,
    ),
    Program("shows a huge value", OUTPUT, "'x' * 10**7", bounded),
    Program("raises a huge error", OUTPUT, "raise ValueError('x' * 10**7)", bounded),
    Program(
        "raises an error that cannot be shown",
        OUTPUT,
        "class E(Exception):\n    def __str__(self): raise E\nraise E",
        bounded,
    ),
    Program(
        "raises an error without a name",
        OUTPUT,
        "class M(type):\n    __name__ = property(lambda self: 1 / 0)\nclass E(Exception, metaclass=M): pass\nraise E",
        bounded,
    ),
    Program(
        "nests errors",
        OUTPUT,
        "def f(n):\n    try: 1/0\n    except Exception as e:\n        if n: f(n - 1)\n        raise\nf(500)",
        bounded,
    ),
    Program("writes what is no text", OUTPUT, "os.write(1, bytes(range(128, 256)))", ran),
    Program("shows what is no text", OUTPUT, "print('\\ud800'); '\\ud800'", ran),
]

PROGRAMS = [*KILLS, *MULTIPLIES, *WAITS, *TAKES]
