"""Programs that use what a session shares with the host over time: tool calls, files in and out, one turn after another."""

from tests.executors.hostile.program import Program, bounded, protocol, ran, refused, stopped, typed

CALLS, FILES, TURNS = "tool calls", "files in and out", "from one turn to the next"
QUICK = 0.3
HAUNTED = "import json; hasattr(json, 'haunted')"
HAUNT = "setattr(json, 'haunted', 1)"

TOOLS = [
    Program(
        "floods the host with calls",
        CALLS,
        "while True:\n    try: ask('x')\n    except BaseException: pass",
        stopped,
        QUICK,
    ),
    Program(
        "calls with arguments nested deep",
        CALLS,
        "sys.setrecursionlimit(10**6)\nx = []\nfor _ in range(5000): x = [x]\nask(x)",
        typed,
    ),
    Program("calls with arguments that are huge", CALLS, "ask('x' * (1 << 25))", refused),
    Program("calls with arguments that are large", CALLS, "ask('x' * 900_000)", refused),
    Program(
        "calls with an object",
        CALLS,
        "class P:\n    def __reduce__(self): return os.abort, ()\nask(P())",
        refused,
    ),
    Program("calls with a number that is none", CALLS, "ask(float('nan'))", refused),
    Program(
        "calls once its submission has ended",
        CALLS,
        "def later():\n    time.sleep(0.05)\n    ask('late')\nthreading.Thread(target=later).start()",
        ran,
        next="import time; time.sleep(0.1); 6 * 7",
    ),
    Program(
        "calls from many threads at once",
        CALLS,
        "def call(n):\n    for i in range(20):\n        if ask(n * 100 + i) != n * 100 + i: won()\n"
        "threads = [threading.Thread(target=call, args=(n,), daemon=True) for n in range(6)]\n"
        "[t.start() for t in threads]; [t.join(5) for t in threads]",
        ran,
    ),
    Program(
        "calls a tool that is not offered", CALLS, "send(b'\\x80\\x04(\\x8c\\x04call\\x8c\\x05grade}t.'); 1", protocol
    ),
    Program(
        "takes the answer to a call",
        CALLS,
        "threading.Thread(target=lambda: os.read(3, 1 << 16), daemon=True).start()\ntime.sleep(0.05); ask('x')",
        deadline=QUICK,
    ),
    Program(
        "interrupts its own call",
        CALLS,
        "def stop(*a): raise ValueError\nsignal.signal(signal.SIGALRM, stop)\n"
        "for _ in range(300):\n    try:\n        signal.setitimer(signal.ITIMER_REAL, 0.0003); ask('x')\n"
        "    except ValueError: pass\nsignal.setitimer(signal.ITIMER_REAL, 0)\nif ask('y') != 'y': won()",
    ),
]

IN_AND_OUT = [
    Program("has the host read through a link", FILES, "os.symlink('SECRET', 'out')", refused),
    Program(
        "has the host write through a link", FILES, "os.makedirs('in'); os.symlink('SECRET', 'in/secret')", refused
    ),
    Program("has the host write into another directory", FILES, "os.symlink('FOLDER', 'in')", refused),
    Program("has the host read a pipe", FILES, "os.mkfifo('out')", refused),
    Program("has the host write into a pipe", FILES, "os.makedirs('in'); os.mkfifo('in/secret')", refused),
    Program("has the host read a directory", FILES, "os.mkdir('out')", ran),
    Program("has the host write over a directory", FILES, "os.makedirs('in/secret')", ran),
    Program("has the host read without end", FILES, "os.symlink('/dev/zero', 'out')", refused),
    Program("has the host read a hole", FILES, "os.truncate(os.open('out', os.O_CREAT | os.O_RDWR), 1 << 34)", refused),
    Program(
        "swaps a directory while the host writes",
        FILES,
        "os.mkdir('in')\ndef swap():\n    os.rename('in', 'was'); os.symlink('FOLDER', 'in')\n"
        "threading.Thread(target=swap).start()\ntime.sleep(0.05)",
        ran,
    ),
    Program(
        "opens what the host reads",
        FILES,
        "os.link('SECRET', 'out')",
        refused,
        exempt="its directory and the host's are on different mounts where it has one; counted as 'through a link'",
    ),
]


def _haunts(name: str, code: str, after: str = HAUNTED, deadline: float = 10.0) -> Program:
    return Program(name, TURNS, code, typed, deadline, next=after)


BETWEEN = [
    Program(
        "swallows a thousand interrupts",
        TURNS,
        "for _ in range(1000):\n    try:\n        while True: sum(())\n    except BaseException: pass",
        stopped,
        QUICK,
    ),
    Program(
        "takes over the alarm",
        TURNS,
        "signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nwhile True: pass",
        stopped,
        QUICK,
    ),
    Program(
        "drowns interrupts in alarms",
        TURNS,
        "def again(*a):\n    signal.setitimer(signal.ITIMER_REAL, 0.00005)\n    for _ in range(99): pass\n"
        "signal.signal(signal.SIGALRM, again); again()\nwhile True: time.sleep(0)",
        stopped,
        QUICK,
    ),
    _haunts(
        "leaves a watchdog that writes",
        "import faulthandler\nfaulthandler.dump_traceback_later(0.01, repeat=True, file=1)",
        "import time; time.sleep(0.1)",
    ),
    _haunts(
        "leaves a thread that floods the output",
        "def flood():\n    for _ in range(400):\n        try: os.write(1, b'x' * 9999)\n        except OSError: pass\n        time.sleep(0.0005)\n"
        "threading.Thread(target=flood).start()",
        "import time; time.sleep(0.1)",
    ),
    _haunts(
        "leaves garbage with a finalizer",
        f"class D:\n    def __del__(self): {HAUNT}\nd = D(); d.self = d; del d",
        "import gc; gc.collect(); import json; hasattr(json, 'haunted')",
    ),
    _haunts(
        "is called by the collector", f"gc.callbacks.append(lambda *a: {HAUNT})", "import gc; gc.collect(); " + HAUNTED
    ),
    _haunts("profiles all that runs", f"sys.setprofile(lambda *a: {HAUNT})"),
    _haunts(
        "leaves a timer that starts itself again",
        f"def tick():\n    {HAUNT}\n    if time.time() < end: threading.Timer(0.02, tick).start()\n"
        "end = time.time() + 0.5\nthreading.Timer(0.02, tick).start()",
        "import time; time.sleep(0.1); " + HAUNTED,
    ),
    _haunts(
        "hears what cannot be raised",
        "sys.unraisablehook = sys.excepthook = print",
        "import sys; sys.unraisablehook is print",
    ),
    _haunts("slows the change of threads", "sys.setswitchinterval(100)", "import sys; sys.getswitchinterval()"),
    _haunts("makes itself unimportant", "os.nice(5)", "import os; os.nice(0)"),
    _haunts(
        "leaves signals blocked",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
        "import signal; sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    ),
    _haunts(
        "leaves a handler",
        "signal.signal(signal.SIGUSR1, lambda *a: None)",
        "import signal; signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL",
    ),
    _haunts("narrows the stacks of threads", "threading.stack_size(32768)", "import threading; threading.stack_size()"),
    _haunts(
        "writes into the lines of files",
        "import linecache\nlinecache.cache['<string>'] = (1, None, ['forged'], '<string>')",
        "import linecache; linecache.getline('<string>', 1)",
    ),
    Program(
        "shows tracebacks of its own",
        TURNS,
        "import traceback\ntraceback.format_exc = lambda *a: 'x' * 10**7\n"
        "traceback.TracebackException.format = lambda *a, **k: ['x' * 10**7]\nraise ValueError",
        bounded,
    ),
    Program("shows values of its own", TURNS, "import builtins\nbuiltins.repr = lambda x: 'x' * 10**7\n1", bounded),
    Program(
        "turns its output into the channel", TURNS, "os.dup2(3, 1); os.write(1, b'garbage!' * 100); 1", protocol, QUICK
    ),
]

PROGRAMS = [*TOOLS, *IN_AND_OUT, *BETWEEN]
