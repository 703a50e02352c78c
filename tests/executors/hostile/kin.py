"""A fork against its parent and siblings: the victim and the attacker come from one session."""

from tests.executors.hostile.program import Program, gone, ran, refused, typed

KIN = "a fork against its parent and siblings"
HOME = "home = os.getcwd()"
SEARCH = """
above = home
for _ in range(4):
    above = os.path.dirname(above)
    for here, _, names in os.walk(above):
        if here.count('/') > 12 or here.startswith(('/usr', '/proc', '/sys', '/lib')): continue
        for name in names:
            if name == 'kin':
                try: show(open(os.path.join(here, name)).read())
                except OSError: pass
"""
SPOIL = """
tried = [os.path.dirname(home), home]
while tried:
    here = tried.pop()
    if here.count('/') > 20: continue
    for act in (lambda: os.chmod(here, 0o755), lambda: tried.extend(e.path for e in os.scandir(here) if e.is_dir())):
        try: act()
        except OSError: pass
    try: DEED
    except OSError: pass
"""
MAP = """
libc.mmap.restype = ctypes.c_void_p
kept = os.open('kept', os.O_RDWR | os.O_CREAT)
os.pwrite(kept, bytes(4096), 0)
at = libc.mmap(None, ctypes.c_size_t(4096), 1, SHARE, kept, 0)
os.close(kept)
"""
WRITE = "f = os.open('kept', os.O_RDWR); os.pwrite(f, MINE.encode(), 0); os.close(f)"
DEEP = 20

PROGRAMS = [
    Program("a copy reads its original's file", KIN, "open(home + '/kin').read()", typed, before=HOME, cast="copy"),
    Program(
        "a copy changes its original's file",
        KIN,
        "open(home + '/kin', 'w').write('x')",
        typed,
        before=HOME,
        cast="copy",
    ),
    Program("a copy removes its original's file", KIN, "os.unlink(home + '/kin')", typed, before=HOME, cast="copy"),
    Program("a copy reads what lies where it is", KIN, "show(open('kin').read())", refused, cast="copy"),
    Program("a copy searches for its original's files", KIN, SEARCH, ran, before=HOME, cast="copy"),
    Program("an original searches for its copy's files", KIN, SEARCH, ran, before=HOME, cast="original"),
    Program("a copy searches for its sibling's files", KIN, SEARCH, ran, before=HOME, cast="sibling"),
    Program(
        "an original opens its copy's directories",
        KIN,
        SPOIL.replace("DEED", "show(open(here + '/kin').read())"),
        ran,
        before=HOME,
        cast="original",
    ),
    Program(
        "an original writes into its copy's files",
        KIN,
        SPOIL.replace("DEED", "open(here + '/kin', 'r+').write('x')"),
        ran,
        before=HOME,
        cast="original",
    ),
    Program(
        "an original renames its copy's files",
        KIN,
        SPOIL.replace("DEED", "os.rename(here + '/kin', here + '/gone')"),
        ran,
        before=HOME,
        cast="original",
    ),
    Program(
        "a late copy reads its original's file",
        KIN,
        "for home in homes: show(open(home + '/kin').read())",
        typed,
        before="homes = [os.getcwd()]",
        cast="copy",
        generation=DEEP,
    ),
    Program(
        "a late copy changes its original's file",
        KIN,
        "open(home + '/kin', 'w').write('x')",
        typed,
        before=HOME,
        cast="copy",
        generation=DEEP,
    ),
    Program(
        "a late copy searches for its sibling's files", KIN, SEARCH, ran, before=HOME, cast="sibling", generation=DEEP
    ),
    Program(
        "a late original searches for its copy's files", KIN, SEARCH, ran, before=HOME, cast="original", generation=DEEP
    ),
    Program(
        "a file mapped before the fork",
        KIN,
        "show(ctypes.string_at(at, 99).decode('latin-1'))",
        before=MAP.replace("SHARE", "1"),
        plant=WRITE,
        cast="copy",
    ),
    Program(
        "a file mapped for itself before the fork",
        KIN,
        "show(ctypes.string_at(at, 99).decode('latin-1'))",
        before=MAP.replace("SHARE", "2"),
        plant=WRITE,
        cast="copy",
    ),
    Program(
        "a copy reads its original's memory", KIN, "scan(parent)", refused, before="parent = os.getpid()", cast="copy"
    ),
    Program(
        "an original reads its copy's memory",
        KIN,
        "for pid in pids():\n    try: scan(pid)\n    except OSError: pass",
        refused,
        cast="original",
    ),
    Program(
        "a copy reads its sibling's memory",
        KIN,
        "for pid in pids():\n    try: scan(pid)\n    except OSError: pass",
        refused,
        cast="sibling",
    ),
    Program(
        "a copy kills its original", KIN, "os.kill(parent, 9)", refused, before="parent = os.getpid()", cast="copy"
    ),
    Program(
        "an original kills its copies",
        KIN,
        "for pid in range(os.getpid() + 1, os.getpid() + 9): os.kill(pid, 9)",
        refused,
        cast="original",
    ),
    Program(
        "a copy kills its siblings", KIN, "for pid in range(2, os.getpid()): os.kill(pid, 9)", refused, cast="sibling"
    ),
    Program(
        "a copy stops its original", KIN, "os.kill(parent, 19)", refused, before="parent = os.getpid()", cast="copy"
    ),
    Program(
        "a copy traces its original",
        KIN,
        "call(101, 16, parent, 0, 0); won()",
        refused,
        before="parent = os.getpid()",
        cast="copy",
    ),
    Program(
        "a copy takes a descriptor of its original",
        KIN,
        "call(438, call(434, parent, 0), 3, 0); won()",
        refused,
        before="parent = os.getpid()",
        cast="copy",
    ),
    Program(
        "memory shared before the fork",
        KIN,
        "show(m[:].decode('latin-1'))",
        before="import mmap\nm = mmap.mmap(-1, 4096)",
        plant="m[:len(MINE)] = MINE.encode()",
        cast="copy",
    ),
    Program(
        "memory shared with siblings",
        KIN,
        "show(m[:].decode('latin-1'))",
        before="import mmap\nm = mmap.mmap(-1, 4096)",
        plant="m[:len(MINE)] = MINE.encode()",
        cast="sibling",
    ),
    Program(
        "a pipe kept through the fork",
        KIN,
        "show(os.read(r, 99).decode())",
        before="r, w = os.pipe()",
        plant="os.write(w, MINE.encode())",
        cast="copy",
    ),
    Program(
        "a socket kept through the fork",
        KIN,
        "show(a.recv(99).decode())",
        before="a, b = socket.socketpair()",
        plant="b.send(MINE.encode())",
        cast="copy",
    ),
    Program(
        "a file kept through the fork",
        KIN,
        "show(os.pread(kept, 99, 0).decode())",
        before="kept = os.open('kept', os.O_RDWR | os.O_CREAT)",
        plant="os.pwrite(kept, MINE.encode(), 0)",
        cast="copy",
    ),
    Program(
        "a directory kept through the fork",
        KIN,
        "show(os.read(os.open('kin', 0, dir_fd=kept), 99).decode())",
        before="kept = os.open('.', 0)",
        cast="copy",
    ),
    Program(
        "a memory file kept through the fork",
        KIN,
        "show(os.pread(kept, 99, 0).decode())",
        before="try: kept = os.memfd_create('x')\nexcept OSError: kept = os.open('/dev/null', 2)",
        plant="os.pwrite(kept, MINE.encode(), 0)",
        cast="copy",
    ),
    Program(
        "the original's channel kept by its copy",
        KIN,
        "os.write(kept, b'garbage!' * 9)",
        before="kept = os.dup(3)",
        cast="copy",
        deadline=0.3,
    ),
    Program(
        "a counter of events kept through the fork",
        KIN,
        "if struct.unpack('Q', os.read(kept, 8))[0]: won()",
        before="kept = os.eventfd(0)",
        plant="os.eventfd_write(kept, 7)",
        cast="copy",
    ),
    Program(
        "a copy bombs with forks",
        KIN,
        "for _ in range(400):\n    if os.fork() == 0: time.sleep(600)",
        refused,
        cast="copy",
    ),
    Program(
        "a copy leaves a daemon",
        KIN,
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)",
        refused,
        cast="copy",
    ),
    Program("a copy reads a file of the host", KIN, "open('SECRET').read()", refused, cast="copy"),
    Program(
        "a copy connects to the host", KIN, "socket.create_connection(('127.0.0.1', PORT), 2)", refused, cast="copy"
    ),
    Program("a copy kills the host", KIN, "os.kill(HOST, 9)", refused, cast="copy"),
    Program("a copy closes every descriptor", KIN, "os.closerange(0, 64)", gone, cast="copy"),
    Program("a copy bombs with memory", KIN, "x = bytes(1 << 20)\nwhile len(x) < 1 << 30: x += x", typed, cast="copy"),
]
