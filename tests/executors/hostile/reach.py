"""Programs that read what is not theirs, change it, or talk to the host."""

from tests.executors.hostile.program import Program, gone, nothing, ran, refused

SYSCALLS = """
numbers = dict(ptrace=101, mount=165, pivot_root=155, unshare=272, setns=308, keyctl=250, add_key=248, bpf=321,
    io_uring_setup=425, userfaultfd=323, perf_event_open=298, kexec_load=246, init_module=175, process_vm_readv=310,
    memfd_create=319, pidfd_open=434, pidfd_getfd=438, fork=57, vfork=58, clone3=435, execve=59, socket=41, connect=42,
    setsid=112, setuid=105, chroot=161, mknod=133, symlink=88, link=86, shmget=29, setrlimit=160, seccomp=317,
    open_by_handle_at=304, openat2=437, sendmsg=46, shutdown=48, rt_sigqueueinfo=129, clock_settime=227, reboot=169,
    landlock_create_ruleset=444, landlock_add_rule=445)
refused = lambda number: libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() in (1, 38)
[name for name, number in numbers.items() if not refused(number)]
"""
FILES, MEMORY, WRITES, NETWORK = "answers on disk", "answers in memory", "files of the host", "network"
EXOTIC = "exotic system calls"

READS = [
    Program("reads a file of the host", FILES, "open('SECRET').read()", refused),
    Program("reads the answers beside this package", FILES, "open('GOLD').read()", refused),
    Program("reads this package", FILES, "open('SOURCE').read() and won()", refused),
    Program("imports the package with the answers", FILES, "import tir_gym; won()", refused),
    Program("finds our modules", FILES, "[m for m in sys.modules if 'tir_gym' in m and not won()]", nothing),
    Program("reads a file through /proc", FILES, "open('/proc/self/root' + 'SECRET').read()", refused),
    Program("reads a file through the way up", FILES, "open('../' * 40 + 'SECRET'[1:]).read()", refused),
    Program(
        "reads a file relative to a descriptor of the root",
        FILES,
        "root = os.open('/', os.O_PATH)\nshow(os.read(os.open('SECRET'[1:], os.O_RDONLY, dir_fd=root), 99).decode())",
        refused,
    ),
    Program("reads a file through a link", FILES, "os.symlink('SECRET', 'here'); open('here').read()", refused),
    Program(
        "reads a file through a hard link",
        FILES,
        "os.link('SECRET', 'FOLDER/hard'); open('FOLDER/hard').read()",
        refused,
    ),
    Program(
        "maps a file of the host",
        FILES,
        "import mmap\nmmap.mmap(os.open('SECRET', 0), 0, prot=mmap.PROT_READ)[:]",
        refused,
    ),
    Program(
        "walks the disk for answers",
        FILES,
        "for top in (os.path.dirname('FOLDER'), 'FOLDER', os.path.dirname('GOLD')):\n    for here, _, names in os.walk(top):\n"
        "        for name in names:\n            try: show(open(os.path.join(here, name), errors='ignore').read(10000))\n"
        "            except OSError: pass",
        ran,
    ),
    Program(
        "reads its neighbours' files",
        FILES,
        "import glob\nfor name in glob.glob('../*/mine') + glob.glob('../*/*/mine') + glob.glob('/box/**/mine') + ['mine']:\n"
        "    try: show(open(name).read())\n    except OSError: pass",
        ran,
    ),
    Program(
        "reads what the last episode left in files",
        FILES,
        "import tempfile\nfor place in ('.', tempfile.gettempdir()):\n    try: show(open(place + '/left').read())\n"
        "    except OSError: pass",
        ran,
        earlier="import tempfile\nfor place in ('.', tempfile.gettempdir()): open(place + '/left', 'w').write('LEFT')",
    ),
    Program("lists the root", FILES, "os.listdir('/'); won()", refused),
    Program("reads the users", FILES, "open('/etc/passwd').read(); won()", refused),
    Program("looks into /proc", MEMORY, "open('/proc/1/environ').read(); won()", refused),
    Program(
        "reads the environment of all processes",
        MEMORY,
        "for pid in pids():\n    try: show(open(f'/proc/{pid}/environ').read())\n    except OSError: pass",
        refused,
    ),
    Program("reads the memory of the host", MEMORY, "scan(HOST)", refused),
    Program(
        "reads the memory of all it can",
        MEMORY,
        "for pid in pids():\n    try: scan(pid)\n    except OSError: pass",
        refused,
    ),
    Program(
        "reads another's memory by system call",
        MEMORY,
        """
found = []
for pid in (HOST, WITNESS, os.getppid()):
    try: lines = open(f'/proc/{pid}/maps').readlines()
    except OSError: lines = ['555555554000-555555955000 rw-p', '7ffff7000000-7ffff7400000 rw-p']
    for line in lines:
        where, rights, *rest = line.split()
        start, end = (int(part, 16) for part in where.split('-'))
        if rights[:2] == 'rw' and end - start < 1 << 26:
            room = ctypes.create_string_buffer(end - start)
            ours, theirs = struct.pack('QQ', ctypes.addressof(room), end - start), struct.pack('QQ', start, end - start)
            try: show(room.raw[:call(310, pid, ours, 1, theirs, 1, 0)].decode('latin-1')); found.append(pid)
            except OSError: pass
[]
""",
        nothing,
    ),
    Program("reads its environment", MEMORY, "[show(value) for value in os.environ.values()]; []", nothing),
    Program(
        "finds names in the environment",
        MEMORY,
        "[k for k in os.environ if k in ('PATH', 'USER', 'PWD', 'SSH_AUTH_SOCK') and not won()]",
        nothing,
    ),
    Program(
        "reads the environment's memory",
        MEMORY,
        "libc.getenv.restype = ctypes.c_char_p\n"
        "[k for k in ('PATH', 'TIR_GYM_HOSTILE_KEY') if libc.getenv(k.encode()) and not show(libc.getenv(k.encode()).decode())]",
        nothing,
    ),
    Program(
        "walks the heap for answers",
        MEMORY,
        "for found in gc.get_objects():\n    if type(found) in (dict, list):\n"
        "        for text in found.values() if type(found) is dict else found:\n            if type(text) is str: show(text)",
        ran,
    ),
    Program(
        "walks the frames above it",
        MEMORY,
        "frame = sys._getframe()\nwhile frame:\n    for value in list(frame.f_locals.values()): show(repr(getattr(value, '__dict__', '')))\n"
        "    frame = frame.f_back",
        ran,
    ),
    Program(
        "reads the modules of the host",
        MEMORY,
        "for module in list(sys.modules.values()):\n    for value in list(getattr(module, '__dict__', {}).values()):\n"
        "        if type(value) in (str, dict, list): show(repr(value)[:10**6])\n        if type(value).__name__ == 'World': show(repr(value))",
        ran,
        exempt="what a module holds, the heap holds: counted there",
    ),
    Program(
        "hides its neighbours' secrets",
        MEMORY,
        "[x for x in gc.get_objects() if isinstance(x, dict) and 'mine' in x and x is not globals() and not won()]",
        nothing,
        earlier="sys.kept = {'mine': 1}",
    ),
    Program(
        "reads what the last episode left in a module",
        MEMORY,
        "show(getattr(json, 'left', ''))",
        ran,
        earlier="json.left = 'LEFT'",
    ),
    Program(
        "reads what the last episode left in its frames",
        MEMORY,
        "for number, frame in sys._current_frames().items():\n    while frame: show(repr(dict(frame.f_locals))); frame = frame.f_back",
        ran,
        earlier="def wait(answer): time.sleep(3)\nthreading.Thread(target=wait, args=('LEFT',), daemon=True).start()",
    ),
    Program(
        "reads every open descriptor",
        "descriptors",
        "for fd in range(3, 1024):\n    try: show(os.pread(fd, 1000, 0).decode('latin-1'))\n    except OSError: pass",
        ran,
    ),
    Program(
        "uses other descriptors",
        "descriptors",
        "def is_open(fd):\n    try: os.fstat(fd); return True\n    except OSError: return False\n"
        "[fd for fd in range(4, 1024) if is_open(fd) and not won()]",
        nothing,
    ),
    Program(
        "opens its descriptors anew for writing",
        "descriptors",
        "for fd in os.listdir('/proc/self/fd'):\n    try: os.write(os.open('/proc/self/fd/' + fd, os.O_RDWR), b''); won()\n"
        "    except OSError: pass",
        refused,
    ),
    Program(
        "takes a descriptor from the host",
        "descriptors",
        "fd = call(438, call(434, HOST, 0), HELD, 0)\nos.pread(fd, 99, 0)",
        refused,
    ),
    Program(
        "writes to every descriptor",
        "descriptors",
        "for fd in range(4, 64):\n    try: os.write(fd, b'x' * 99)\n    except OSError: pass",
        ran,
        0.5,
    ),
    Program("closes every descriptor", "descriptors", "os.closerange(0, 64)", gone),
]

CHANGES = [
    Program("changes a file of the host", WRITES, "open('SECRET', 'w').write('x')", refused),
    Program("cuts a file of the host", WRITES, "os.truncate('SECRET', 0)", refused),
    Program("removes a file of the host", WRITES, "os.unlink('SECRET')", refused),
    Program("renames a file of the host", WRITES, "os.rename('SECRET', 'FOLDER/gone')", refused),
    Program(
        "puts another file in its place",
        WRITES,
        "open('new', 'w').write('x')\nos.rename('new', 'SECRET')",
        refused,
        exempt="its directory and the host's are on different mounts where it has one; counted as 'renames'",
    ),
    Program("takes the rights of a file", WRITES, "os.chmod('SECRET', 0); won()", refused),
    Program("changes the times of a file", WRITES, "os.utime('SECRET', (0, 0)); won()", refused),
    Program(
        "writes to the library",
        WRITES,
        "open(os.path.dirname(os.__file__) + '/x.py', 'w')",
        refused,
        exempt="the control's jail keeps the interpreter read-only",
    ),
    Program("writes to /tmp", WRITES, "open('/tmp/x', 'w'); won()", refused),
    Program("writes to /dev/shm", WRITES, "open('/dev/shm/x', 'w'); won()", refused),
    Program(
        "locks a file of the host",
        WRITES,
        "import fcntl\nfcntl.flock(os.open('SECRET', 0), fcntl.LOCK_EX); won()",
        refused,
    ),
    Program("watches the directory of the host", WRITES, "call(254, call(294, 0), b'FOLDER', 0xfff); won()", refused),
    Program("makes a FIFO where the host may read", WRITES, "os.mkfifo('FOLDER/fifo'); won()", refused),
]

TALKS = [
    Program("connects over TCP", NETWORK, "socket.create_connection(('127.0.0.1', PORT), 2)", refused),
    Program(
        "fetches a page",
        NETWORK,
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:PORT/', timeout=0.2)",
        refused,
    ),
    Program("listens over TCP", NETWORK, "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); won()", refused),
    Program(
        "sends over UDP",
        NETWORK,
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'answer', ('127.0.0.1', DATAGRAMS))",
        refused,
    ),
    Program("connects over a path", NETWORK, "socket.socket(socket.AF_UNIX).connect('UNIX')", refused),
    Program("connects over an abstract name", NETWORK, "socket.socket(socket.AF_UNIX).connect('\\0ABSTRACT')", refused),
    Program(
        "sends to a path",
        NETWORK,
        "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\na.sendto(b'x', 'LETTERS')",
        refused,
    ),
    Program(
        "sends a message to a path",
        NETWORK,
        "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\na.sendmsg([b'x'], [], 0, 'LETTERS')",
        refused,
    ),
    Program(
        "asks the kernel about the network",
        NETWORK,
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0)); won()",
        refused,
    ),
    Program(
        "binds an abstract name", NETWORK, "socket.socket(socket.AF_UNIX).bind('\\0tir-gym-taken'); won()", refused
    ),
]

CALLS = [
    Program(
        "makes every dangerous call",
        EXOTIC,
        SYSCALLS,
        nothing,
        exempt="zero arguments do nothing; the calls are made in earnest below",
    ),
    Program("enters a user namespace", "namespaces", "call(272, 0x10000000); won()", refused),
    Program(
        "enters a user namespace and mounts",
        "namespaces",
        "call(272, 0x10020000)\nif libc.mount(b'x', b'/tmp', b'tmpfs', 0, b''): raise OSError(1, '')\nwon()",
        refused,
    ),
    Program(
        "enters the host's namespaces",
        "namespaces",
        "call(308, os.open('/proc/HOST/ns/uts', 0), 0); won()",
        refused,
        exempt="entering them takes a capability that the control's jail has dropped",
    ),
    Program(
        "makes new namespaces with clone",
        "namespaces",
        "pid = call(56, 0x10000000 | 17, 0, 0, 0, 0)\nif pid == 0: libc._exit(0)\nwon()",
        refused,
    ),
    Program(
        "traces another process", EXOTIC, "call(101, 16, WITNESS, 0, 0); won(); call(101, 17, WITNESS, 0, 0)", refused
    ),
    Program("makes an io_uring", EXOTIC, "call(425, 8, ctypes.create_string_buffer(120)); won()", refused),
    Program("handles page faults", EXOTIC, "call(323, 1); won()", refused),
    Program("keeps keys in the kernel", EXOTIC, "call(248, b'user', b'tir_gym', b'x', 1, -2); won()", refused),
    Program("counts events", EXOTIC, "call(298, struct.pack('IIQ104x', 1, 112, 0), 0, -1, -1, 0); won()", refused),
    Program("makes a memory file", EXOTIC, "os.memfd_create('x'); won()", refused),
    Program("installs filters of its own", EXOTIC, "call(317, 2, 0, struct.pack('I', 0x7fff0000)); won()", refused),
    Program("makes Landlock rules", EXOTIC, "call(444, struct.pack('Q', 1), 8, 0); won()", refused),
    Program("compares descriptors with another's", EXOTIC, "call(312, HOST, os.getpid(), 0, 0, 0); won()", refused),
    Program(
        "names a file by its handle",
        EXOTIC,
        "call(303, -100, b'SECRET', struct.pack('Ii128x', 128, 0), ctypes.create_string_buffer(8), 0); won()",
        refused,
    ),
    Program("changes its personality", EXOTIC, "call(135, 0x0400000); won(); call(135, 0)", refused),
    Program(
        "opens by openat2",
        EXOTIC,
        "show(os.read(call(437, -100, b'SECRET', struct.pack('QQQ', 0, 0, 0), 24), 99).decode())",
        refused,
    ),
    Program(
        "makes pages of another's pipe",
        EXOTIC,
        "r, w = os.pipe()\ncall(278, w, struct.pack('QQ', ctypes.addressof(ctypes.create_string_buffer(9)), 9), 1, 0); won()",
        refused,
    ),
    Program(
        "sets the clock",
        "time",
        "time.clock_settime(time.CLOCK_REALTIME, 0); won()",
        refused,
        exempt="setting it takes a capability that the control's jail has dropped",
    ),
]

PROGRAMS = [*READS, *CHANGES, *TALKS, *CALLS]
