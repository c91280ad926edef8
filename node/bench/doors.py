"""A compiled load generator against a gateway: wrk, its pace and its bodies set by a script, its CPU counted apart."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.bench.limits import cpu_seconds
from node.bench.load import LoadError

CONNECTIONS = 32

_SCRIPT = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } now_t; int clock_gettime(int clock, now_t *now);")
local kind, file, per_s = nil, nil, 0
local lines, at = {}, 0
local due_ms, now = nil, ffi.new("now_t")
local function now_ms()
  ffi.C.clock_gettime(1, now)
  return 1000 * tonumber(now.s) + tonumber(now.ns) / 1e6
end
function init(args)
  kind, file, per_s = args[1], args[2], tonumber(args[3])
  for line in io.lines(file) do
    if kind == "BATCH" then
      line = line:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
    end
    lines[#lines + 1] = line
  end
  if kind == "BATCH" then
    function response(status, headers, body)
      if not body:find('"refused":%[%]') then io.write("\\nNOT WHOLE " .. body:sub(1, 300) .. "\\n") end
    end
  end
end
-- Whichever connection is free next sends what is due next; nothing is caught up on more than a second late.
function delay()
  if per_s == 0 then return 0 end
  local at_ms = now_ms()
  due_ms = math.max((due_ms or at_ms) + 1000 / per_s, at_ms - 1000)
  return math.max(0, math.floor(due_ms - at_ms + 0.5))
end
function request()
  at = at % #lines + 1
  if kind == "GET" then return wrk.format("GET", lines[at]) end
  if kind == "BATCH" then return wrk.format("POST", "/api/v2/transactions/batch", {}, lines[at]) end
  local headers = {["Content-Type"] = "application/json"}
  return wrk.format("POST", "/api/v2/transactions", headers, lines[at])
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a compiled generator saw, and what it cost the daemon and the generator itself."""

    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    refused: int
    broken: int
    daemon_cpu_ms_per_request: float
    generator_cpu_ms_per_request: float


def has_wrk() -> bool:
    """Whether the generator is installed (Debian: wrk)."""
    return shutil.which("wrk") is not None


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon, and a folder for the generator's files."""

    url: str
    pid: int
    folder: Path


def drive(
    target: Target, kind: str, lines: Sequence[str], *, seconds: float, per_s: float
) -> Answered:
    """What `lines` hold goes out, at most `per_s` in a second, 0 for as fast as it goes.

    `kind` is GET for paths, POST for bodies of one submission, BATCH for those of many, in hexadecimal digits. Raises
    `LoadError` if a batch was not taken whole.
    """
    pid, folder = target.pid, target.folder
    script, content = folder / "load.lua", folder / "load.txt"
    script.write_text(_SCRIPT)
    content.write_text("\n".join(lines) + "\n")
    before, own = cpu_seconds(pid), children_cpu_s()
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "5s"),
            *("-s", str(script), target.url, "--", kind, str(content), str(per_s)),
        ],
        capture_output=True,
        check=True,
        timeout=seconds + 60,
    )
    spent, generated = cpu_seconds(pid) - before, children_cpu_s() - own
    said = done.stdout.decode().strip().splitlines()
    for line in said:
        if line.startswith("NOT WHOLE"):
            raise LoadError(f"a batch was not taken whole: {line[10:]}")
    told = json.loads(said[-1])
    count = max(1, told["requests"])
    return Answered(
        per_s=round(1e6 * told["requests"] / told["duration_us"], 1),
        p50_ms=round(told["p50_us"] / 1000, 3),
        p99_ms=round(told["p99_us"] / 1000, 3),
        requests=told["requests"],
        refused=told["refused"],
        broken=told["broken"],
        daemon_cpu_ms_per_request=round(1000 * spent / count, 4),
        generator_cpu_ms_per_request=round(1000 * generated / count, 4),
    )


def children_cpu_s() -> float:
    """What all ended children of this process have spent."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
