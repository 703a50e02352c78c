"""Times a tool that starts an interpreter for every call, in the environment where it is installed.

`python benchmarks/tool_worker.py TOOL`, run by `benchmarks.executor` with any Python: standard library only. Each line
of standard input is a request `{"code", "count", "threads"}`; its answer is a line with the microseconds of each call,
the seconds of all, processor microseconds a call (of this process; of its children), and what the calls printed.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

PATIENCE = 60


def plain() -> tuple[Callable[[str], str], str]:
    def call(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    return call, f"Python {sys.version.split()[0]}"


def gem(kind: str) -> tuple[Callable[[str], str], str]:
    from gem.tools.python_code_tool import PythonCodeTool

    tool = PythonCodeTool(timeout=PATIENCE, sandbox_type=kind)

    def call(code: str) -> str:
        shown: str = tool.execute_action(f"<python>{code}</python>")[2]
        return shown.removeprefix("Code execution result: ")

    return call, f"gem-llm {version('gem-llm')}"


def skyrl() -> tuple[Callable[[str], str], str]:
    from skyrl_gym.tools import PythonCodeExecutorToolGroup

    tools = PythonCodeExecutorToolGroup(timeout=PATIENCE)
    return lambda code: tools.execute_tool("python", code), f"skyrl-gym {version('skyrl-gym')}"


TOOLS = {"plain": plain, "gem": lambda: gem("none"), "gem-bwrap": lambda: gem("bwrap"), "skyrl": skyrl}


def used(who: int) -> float:
    """Processor seconds."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Serve requests until there are no more."""
    out = os.fdopen(os.dup(1), "w")  # what a tool prints goes elsewhere
    os.dup2(2, 1)
    call, name = TOOLS[sys.argv[1]]()
    print(json.dumps({"name": name}), file=out, flush=True)

    def timed(code: str) -> tuple[float, str]:
        begin = time.perf_counter()
        printed = call(code)
        return (time.perf_counter() - begin) * 1e6, printed.strip()

    for line in sys.stdin:
        request = json.loads(line)
        count = request["count"]
        with ThreadPoolExecutor(request["threads"]) as pool:
            before = used(resource.RUSAGE_SELF), used(resource.RUSAGE_CHILDREN)
            begin = time.perf_counter()
            if request["threads"] == 1:
                found = [timed(request["code"]) for _ in range(count)]
            else:
                found = list(pool.map(timed, [request["code"]] * count))
            seconds = time.perf_counter() - begin
            host = (used(resource.RUSAGE_SELF) - before[0]) * 1e6 / count
            children = (used(resource.RUSAGE_CHILDREN) - before[1]) * 1e6 / count
        answer = {"walls": [wall for wall, _ in found], "seconds": seconds, "host": host, "children": children}
        print(json.dumps(answer | {"printed": sorted({printed for _, printed in found})}), file=out, flush=True)


if __name__ == "__main__":
    main()
