"""Programs that forge what the host is told, or poison the interpreter for whoever comes next."""

from tests.executors.hostile.program import Program, gone, protocol, ran, refused, typed

FORGING, POISON, TIME, LOCALE, HOOKS = "protocol", "poisoned interpreter", "time", "locale", "import hooks"
END = (
    "dict(t='done', token=token, status='ok', value='', error='', traceback='', stdout='', stderr='', cpu=0, memory=0)"
)
QUICK = 0.3
AHEAD = "import pickle\nsend(pickle.dumps(('ok', '43', '', '')))"

FORGES = [
    Program("hands the host garbage", FORGING, "os.write(3, b'garbage!' * 100); 1", protocol, QUICK),
    Program("hands the host an endless frame", FORGING, "os.write(3, b'\\x7f\\xff\\xff\\xff'); 1", protocol, QUICK),
    Program("pretends to be the server", FORGING, "os.write(3, b'\\xff' * 24); 1", protocol, QUICK),
    Program("hands the host half a frame and waits", FORGING, "os.write(3, b'\\0\\0'); held.sleep(600)", gone, QUICK),
    Program("hands the host an empty frame", FORGING, "send(b''); 1", protocol),
    Program("hands the host nested JSON", FORGING, "send(b'[' * 500_000); 1", protocol),
    Program("hands the host a number too long", FORGING, "send(b'{\"t\": ' + b'9' * 100_000 + b'}'); 1", protocol),
    Program("forges an end without the token", FORGING, f"token = '0'; send(json.dumps({END}).encode()); 1", protocol),
    Program("claims to be ready again", FORGING, 'send(b\'{"t": "ready"}\'); 1', protocol),
    Program("claims that its start failed", FORGING, 'send(b\'{"t": "failed", "text": "x"}\'); 1', protocol),
    Program(
        "hands the host a pickle",
        FORGING,
        "import pickle\nclass P:\n    def __reduce__(self): return os.abort, ()\nsend(pickle.dumps(P())); 1",
        protocol,
    ),
    Program(
        "has the host change a file",
        FORGING,
        "import pickle\nclass P:\n    def __reduce__(self): return os.truncate, ('SECRET', 0)\nsend(pickle.dumps(P())); 1",
        protocol,
    ),
    Program("answers the next question in advance", FORGING, AHEAD, protocol),
    Program(
        "answers when nothing was asked",
        FORGING,
        f"def later():\n    time.sleep(0.05)\n    {AHEAD.replace(chr(10), '; ')}\nthreading.Thread(target=later).start()",
        typed,
        next="import time; time.sleep(0.1); 6 * 7",
    ),
    Program(
        "takes the host's next words",
        FORGING,
        "threading.Thread(target=lambda: os.read(3, 1 << 16), daemon=True).start()",
        ran,
        QUICK,
    ),
    Program("floods the channel", FORGING, "big = bytes(1 << 20)\nfor _ in range(100): send(big)", protocol),
    Program("closes the channel for writing", FORGING, "socket.socket(fileno=os.dup(3)).shutdown(1)", refused),
    Program(
        "hands the host descriptors",
        FORGING,
        "socket.send_fds(socket.socket(fileno=os.dup(3)), [b'x'], [0] * 9)",
        refused,
        QUICK,
    ),
    Program(
        "puts another channel in its place", FORGING, "a, b = socket.socketpair(); os.dup2(a.fileno(), 3)", typed, QUICK
    ),
]


def _poison(name: str, section: str, code: str, after: str, deadline: float = 10.0) -> Program:
    return Program(name, section, code, typed, deadline, next=after)


POISONS = [
    _poison(
        "breaks the built-ins",
        POISON,
        "import builtins\nbuiltins.len = builtins.exec = json.dumps = None",
        "len('abc')",
    ),
    _poison("breaks the streams", POISON, "sys.stdout = sys.stderr = sys.stdin = None", "print('a')"),
    _poison("writes another number into a number", POISON, "ctypes.memmove(id(77) + 24, id(78) + 24, 4)", "70 + 7"),
    _poison("changes how JSON reads", POISON, "json.loads = lambda text: 43", "import json; json.loads('42')"),
    _poison(
        "changes a class of the library",
        POISON,
        "import fractions\nfractions.Fraction.__add__ = lambda a, b: 43",
        "from fractions import Fraction; Fraction(1) + 1",
    ),
    _poison("closes its input and output", POISON, "sys.stdout.close(); os.close(1)", "print('a')"),
    _poison(
        "lowers the recursion limit", POISON, "sys.setrecursionlimit(60)", "def f(n): return n and f(n - 1)\nf(200)"
    ),
    _poison("limits the digits of numbers", POISON, "sys.set_int_max_str_digits(640)", "len(str(10**1000))"),
    _poison(
        "turns warnings into errors",
        POISON,
        "import warnings; warnings.simplefilter('error')",
        "import warnings; warnings.warn('x'); 1",
    ),
    _poison("turns off the collector", POISON, "gc.disable()", "import gc; gc.isenabled()"),
    _poison(
        "traces all that runs",
        POISON,
        "def spy(*a): raise ValueError\nthreading.setprofile(spy); sys.settrace(spy)",
        "def f(): return 1\nf()",
    ),
    _poison(
        "audits all that runs",
        POISON,
        "def no(event, args):\n    if event == 'open': raise ValueError\nsys.addaudithook(no)",
        "open('/dev/null').read()",
    ),
    _poison(
        "leaves a timer",
        POISON,
        "def late(*a): raise ValueError\nsignal.signal(signal.SIGPROF, late); signal.setitimer(signal.ITIMER_PROF, 0.05)",
        "sum(n % 7 for n in range(3_000_000))",
    ),
    _poison("forbids new files", POISON, "os.umask(0o777)", "open('u', 'w').write('1'); open('u').read()"),
    _poison("goes elsewhere", POISON, "os.chdir('/')", "open('u', 'w').write('1')"),
    _poison(
        "changes the precision of decimals",
        POISON,
        "import decimal; decimal.getcontext().prec = 2",
        "import decimal; decimal.Decimal(1) / 3",
    ),
    _poison(
        "fixes the seed",
        POISON,
        "import random\nrandom.seed = lambda *a: None",
        "import random; random.seed(1); a = random.random(); random.seed(1); a == random.random()",
    ),
    _poison(
        "breaks the random numbers of NumPy",
        POISON,
        "import numpy\nnumpy.random.rand = lambda *a: 4",
        "import numpy; numpy.random.rand() == 4",
    ),
    _poison(
        "sets an option of NumPy",
        POISON,
        "import numpy; numpy.seterr(all='raise')",
        "import numpy; numpy.geterr()['over']",
    ),
    _poison(
        "spoils a cached result",
        POISON,
        "import linecache, re\nre.compile = lambda *a: None",
        "import re; re.compile('a').pattern",
    ),
    _poison(
        "leaves a module in the working directory",
        HOOKS,
        "open('colorsys.py', 'w').write('rgb_to_hsv = lambda *a: 43')",
        "import sys\nsys.modules.pop('colorsys', 0)\nimport colorsys; colorsys.rgb_to_hsv(0, 0, 0)",
    ),
    _poison(
        "puts a module into the cache",
        HOOKS,
        "import types\nsys.modules['colorsys'] = types.ModuleType('colorsys')",
        "import colorsys; colorsys.rgb_to_hsv(0, 0, 0)",
    ),
    _poison(
        "hooks imports",
        HOOKS,
        "class Finder:\n    def find_spec(self, *a): raise ImportError('mine')\nsys.meta_path.insert(0, Finder())",
        "import sys\nsys.modules.pop('colorsys', 0)\nimport colorsys; 1",
    ),
    _poison(
        "hooks the paths of imports",
        HOOKS,
        "sys.path.clear(); sys.path_importer_cache.clear()",
        "import sys\nsys.modules.pop('colorsys', 0)\nimport colorsys; 1",
    ),
    _poison(
        "replaces the import itself",
        HOOKS,
        "import builtins\nbuiltins.__import__ = lambda *a, **k: 43",
        "import math; math.sqrt(4)",
    ),
    _poison(
        "registers a codec",
        HOOKS,
        "import codecs\ncodecs.register(lambda name: codecs.lookup('utf-8') if name == 'tir' else None)",
        "'a'.encode('tir')",
    ),
    _poison(
        "moves to another time zone",
        TIME,
        "os.environ['TZ'] = 'XYZ-9'; time.tzset()",
        "import time; time.localtime(0).tm_hour",
    ),
    _poison("stops the clock of the library", TIME, "time.time = lambda: 0.0", "import time; time.time() > 0"),
    _poison(
        "makes sleeping impossible",
        TIME,
        "def sleep(s): raise ValueError\ntime.sleep = sleep",
        "import time; time.sleep(0)",
    ),
    _poison(
        "changes the locale",
        LOCALE,
        "import locale; locale.setlocale(locale.LC_ALL, 'C')",
        "import locale; locale.setlocale(locale.LC_CTYPE)",
    ),
    _poison(
        "changes the environment",
        LOCALE,
        "os.environ['LANG'] = 'xx'; os.putenv('LC_ALL', 'xx')",
        "import os; os.environ.get('LANG') == 'xx'",
    ),
    _poison(
        "breaks the encoding of files",
        LOCALE,
        "import io\nio.text_encoding = open = None\nimport builtins\nbuiltins.open = lambda *a, **k: io.StringIO('43')",
        "open('u', 'w').write('42'); open('u').read()",
    ),
]

PROGRAMS = [*FORGES, *POISONS]
